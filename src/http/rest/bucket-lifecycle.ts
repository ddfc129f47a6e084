import { Hono } from 'hono'
import type { z } from 'zod'
import { type BucketRule, isSupabaseRule } from '../../model/bucket-lifecycle.ts'
import { StorageError } from '../../model/errors.ts'
import { idOfRule, NO_FILTER } from '../../model/lifecycle-rule.ts'
import { requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logTarget } from '../env.ts'
import { jsonReader, MAX_BULK_BYTES } from '../message/json-body.ts'
import { decodeSegment } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import {
  deleteBucketLifecycle,
  getBucketLifecycle,
  putBucketLifecycle,
  putSchema,
} from './operations/bucket-lifecycle.ts'

/** In both modes: a field that would be passed over might be a filter, and more would go than was meant. */
const readJson = jsonReader({ supabaseCompat: false })

/** A bucket's lifecycle as Supabase's newest client has it (wire §13.2). */
export function bucketLifecycleRoutes(services: Services) {
  const { bucketLifecycle } = services
  const callerOf = (c: AppContext, verb: string) =>
    requireCaller(c, services, `storage.bucket.${verb}_lifecycle`)
  const bucketOf = (c: AppContext) => {
    const id = decodeSegment(c.req.path.split('/')[2] ?? '')
    logTarget(c, id)
    return id
  }

  return new Hono<Env>()
    .get(
      '/bucket/:id/lifecycle',
      operation(getBucketLifecycle, async (c) => {
        const caller = await callerOf(c, 'get')
        const rules = await bucketLifecycle.get(caller, bucketOf(c), isSupabaseRule)
        return c.json({ rules: rules.map(ruleJson) })
      }),
    )
    .put(
      '/bucket/:id/lifecycle',
      operation(putBucketLifecycle, async (c) => {
        const caller = await callerOf(c, 'put')
        const bucket = bucketOf(c)
        const body = await readJson(c.env.incoming, putSchema, { maxBytes: MAX_BULK_BYTES })
        const rules = body.rules.map(asRule)
        refuseTwins(rules)
        await bucketLifecycle.put(caller, bucket, isSupabaseRule, rules)
        return c.json({ rules: rules.map(ruleJson) })
      }),
    )
    .delete(
      '/bucket/:id/lifecycle',
      operation(deleteBucketLifecycle, async (c) => {
        const caller = await callerOf(c, 'delete')
        await bucketLifecycle.delete(caller, bucketOf(c), isSupabaseRule)
        return c.json({ message: 'Successfully deleted' })
      }),
    )
}

function asRule(body: z.infer<typeof putSchema>['rules'][number]): BucketRule {
  const { noncurrentDays, newerNoncurrentVersions = 0 } = body.noncurrentVersionExpiration
  return {
    id: body.id ?? idOfRule(body),
    isEnabled: body.status === 'Enabled',
    filter: NO_FILTER,
    noncurrent: { days: noncurrentDays, newer: newerNoncurrentVersions },
  }
}

/** @throws InvalidRequest */
function refuseTwins(rules: BucketRule[]): void {
  const ids = rules.map(({ id }) => id)
  const twin = ids.findIndex((id, index) => ids.indexOf(id) < index)
  if (twin >= 0)
    throw new StorageError('InvalidRequest', { message: `body/rules/${twin}/id must not come twice` })
}

function ruleJson({ id, isEnabled, noncurrent }: BucketRule) {
  return {
    id,
    status: isEnabled ? 'Enabled' : 'Disabled',
    filter: {},
    noncurrentVersionExpiration: {
      noncurrentDays: noncurrent?.days,
      ...(noncurrent && noncurrent.newer > 0 && { newerNoncurrentVersions: noncurrent.newer }),
    },
  }
}
