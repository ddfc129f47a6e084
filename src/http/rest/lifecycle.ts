import { Hono } from 'hono'
import type { z } from 'zod'
import type { LifecyclePolicy, ListedPolicy } from '../../database/queries/lifecycle-policies.ts'
import { UUID } from '../../lib/uuid.ts'
import { StorageError } from '../../model/errors.ts'
import { BASES_OF, idOfRule, LIFECYCLE_ACTIONS, type LifecycleRule } from '../../model/lifecycle-rule.ts'
import type { LifecycleRun } from '../../storage/lifecycle/lifecycle-policies.ts'
import { askerOf, requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logTarget } from '../env.ts'
import { checkShape, jsonReader, MAX_BULK_BYTES } from '../message/json-body.ts'
import { queryOf } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import {
  createPolicy,
  createSchema,
  deletePolicy,
  getPolicy,
  listPolicies,
  pageSchema,
  runPolicy,
  runSchema,
  updatePolicy,
  updateSchema,
} from './operations/lifecycle.ts'

/** In both modes: a field that would be passed over might be a filter, and more would go than was meant. */
const readJson = jsonReader({ supabaseCompat: false })

const PRIORITY = 100

/** What goes by itself, and when: for the service, and for who owns a bucket (docs/versions.md). */
export function lifecycleRoutes(services: Services) {
  const { lifecycle } = services
  const callerOf = (c: AppContext, verb: string) => requireCaller(c, services, `storage.lifecycle.${verb}`)

  return new Hono<Env>()
    .get(
      '/lifecycle',
      operation(listPolicies, async (c) => {
        const caller = await callerOf(c, 'list')
        const page = checkShape('querystring', Object.fromEntries(queryOf(c.env)), pageSchema)
        const { limit, bucket, cursor: after } = page
        const found = await lifecycle.list(caller, { bucket, after, limit: limit + 1 })
        const items = found.slice(0, limit).map(listedJson)
        return c.json({ items, next: found.length > limit ? (items.at(-1)?.id ?? null) : null })
      }),
    )
    .post(
      '/lifecycle',
      operation(createPolicy, async (c) => {
        const caller = await callerOf(c, 'create')
        const body = await readJson(c.env.incoming, createSchema, { maxBytes: MAX_BULK_BYTES })
        if (body.bucket !== null) logTarget(c, body.bucket)
        const made = await lifecycle.create(caller, {
          name: body.name,
          bucket: body.bucket,
          isEnabled: body.enabled ?? true,
          priority: body.priority ?? PRIORITY,
          rules: body.rules.map(asRule),
        })
        c.env.notes.resourceId = made.id
        return c.json(policyJson(made), 201)
      }),
    )
    .get(
      '/lifecycle/:id',
      operation(getPolicy, async (c) => {
        return c.json(policyJson(noted(c, await lifecycle.get(await callerOf(c, 'get'), idOf(c)))))
      }),
    )
    .put(
      '/lifecycle/:id',
      operation(updatePolicy, async (c) => {
        const caller = await callerOf(c, 'update')
        const id = idOf(c)
        const body = await readJson(c.env.incoming, updateSchema, { maxBytes: MAX_BULK_BYTES })
        const changed = await lifecycle.update(caller, id, {
          ...(body.name !== undefined && { name: body.name }),
          ...(body.bucket !== undefined && { bucket: body.bucket }),
          ...(body.enabled !== undefined && { isEnabled: body.enabled }),
          ...(body.priority !== undefined && { priority: body.priority }),
          ...(body.rules && { rules: body.rules.map(asRule) }),
        })
        return c.json(policyJson(noted(c, changed)))
      }),
    )
    .delete(
      '/lifecycle/:id',
      operation(deletePolicy, async (c) => {
        await lifecycle.delete(await callerOf(c, 'delete'), idOf(c))
        return c.body(null, 204)
      }),
    )
    .post(
      '/lifecycle/:id/run',
      operation(runPolicy, async (c) => {
        const isDry = queryOf(c.env).get('dry_run') === 'true'
        const caller = await callerOf(c, isDry ? 'dry_run' : 'run')
        const id = idOf(c)
        checkShape('querystring', Object.fromEntries(queryOf(c.env)), runSchema)
        const gone = new AbortController()
        c.env.outgoing.once('close', () => gone.abort())
        const { signal } = gone
        const run = await lifecycle.run(caller, askerOf(c, services, caller), id, { dryRun: isDry, signal })
        return c.json(runJson(run, isDry))
      }),
    )
}

/** @throws NoSuchLifecyclePolicy for what is no id */
function idOf(c: AppContext): string {
  const id = c.req.path.split('/')[2]?.toLowerCase() ?? ''
  c.env.notes.resourceId = id
  if (!UUID.test(id)) throw new StorageError('NoSuchLifecyclePolicy')
  return id
}

function noted(c: AppContext, policy: LifecyclePolicy): LifecyclePolicy {
  if (policy.bucket !== null) logTarget(c, policy.bucket)
  return policy
}

type RuleBody = z.infer<typeof createSchema>['rules'][number]

function asRule(body: RuleBody): LifecycleRule {
  const { action } = body
  const filter: Partial<NonNullable<RuleBody['filter']>> = body.filter ?? {}
  return {
    id: body.id ?? idOfRule(body),
    isEnabled: body.enabled ?? true,
    action,
    afterDays: body.after_days ?? null,
    date: body.date ?? null,
    basedOn: body.based_on ?? BASES_OF[action][0],
    keepVersions: body.keep_versions ?? 0,
    filter: {
      prefix: filter.prefix ?? '',
      tags: filter.tags ?? [],
      contentType: filter.content_type ?? null,
      // Nothing is smaller.
      minSize: filter.min_size || null,
      maxSize: filter.max_size ?? null,
    },
  }
}

function policyJson({ rules, ...policy }: LifecyclePolicy) {
  return { ...fieldsJson(policy), rules: rules.map(ruleJson) }
}

function listedJson({ ruleCount, ...policy }: ListedPolicy) {
  return { ...fieldsJson(policy), rule_count: ruleCount }
}

function fieldsJson(policy: Omit<LifecyclePolicy, 'rules'>) {
  return {
    id: policy.id,
    name: policy.name,
    bucket: policy.bucket,
    enabled: policy.isEnabled,
    priority: policy.priority,
    created_at: policy.createdAt,
    updated_at: policy.updatedAt,
  }
}

function ruleJson({ filter, ...rule }: LifecycleRule) {
  return {
    id: rule.id,
    enabled: rule.isEnabled,
    action: rule.action,
    after_days: rule.afterDays,
    date: rule.date,
    based_on: rule.basedOn,
    keep_versions: rule.keepVersions,
    filter: {
      prefix: filter.prefix,
      tags: filter.tags,
      content_type: filter.contentType,
      min_size: filter.minSize,
      max_size: filter.maxSize,
    },
  }
}

function runJson({ looked, counts, failures, sample, isComplete }: LifecycleRun, dryRun: boolean) {
  return {
    dry_run: dryRun,
    looked_at: looked,
    actions: Object.fromEntries(LIFECYCLE_ACTIONS.map((action) => [action, counts.get(action) ?? 0])),
    failures,
    complete: isComplete,
    sample: sample.map(({ action, rule, bucket, name, version }) => ({
      action,
      rule_id: rule,
      bucket,
      path: name,
      version_id: version,
    })),
  }
}
