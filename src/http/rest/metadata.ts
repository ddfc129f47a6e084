import { Hono } from 'hono'
import { StorageError } from '../../model/errors.ts'
import type { UserMetadata } from '../../model/metadata.ts'
import { requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logObject, logTarget } from '../env.ts'
import { writeCondition } from '../message/conditionals.ts'
import { checkShape, jsonReader } from '../message/json-body.ts'
import { objectTarget, parameterOf } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { changeSchema, changesIn, MAX_CHANGE_BYTES } from './change-fields.ts'
import {
  deleteMetadata,
  getMetadata,
  metadataSchema,
  metadataValueSchema,
  putMetadata,
} from './operations/metadata.ts'

/** User metadata as keys and values, of an object by its name. New routes: they answer alike in both modes. */
export function metadataRoutes(services: Services) {
  const { files } = services
  const readJson = jsonReader(services)

  /** @param said what `PATCH /object` would be told */
  async function change(
    c: AppContext,
    said: (key: string | undefined) => Promise<object>,
  ): Promise<UserMetadata> {
    const caller = await requireCaller(c, services, 'storage.object.update')
    const { bucket, name } = targetOf(c)
    const condition = writeCondition(c.env.incoming.headers)
    const body = checkShape('body', await said(parameterOf(c.env, 'key')), changeSchema)
    const changed = await files.change(caller, bucket, name, changesIn(body), condition)
    logObject(c, changed)
    return changed.userMetadata ?? {}
  }

  return new Hono<Env>()
    .get(
      '/metadata/:bucket/:key{.*}',
      operation(getMetadata, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.get_metadata')
        const { object } = await files.find(caller, { access: 'policy', ...targetOf(c) })
        logObject(c, object)
        const all = object.userMetadata ?? {}
        const key = parameterOf(c.env, 'key')
        if (key === undefined) return c.json(all)
        if (Object.hasOwn(all, key)) return c.json({ key, value: all[key] })
        throw new StorageError('NoSuchKey', { message: 'The object has no metadata of this key' })
      }),
    )
    .put(
      '/metadata/:bucket/:key{.*}',
      operation(putMetadata, async (c) =>
        c.json(
          await change(c, async (key) => {
            const metadata = await readJson(c.env.incoming, metadataSchema, { maxBytes: MAX_CHANGE_BYTES })
            if (key === undefined) return { metadata }
            return { metadata_merge: { [key]: checkShape('body', metadata, metadataValueSchema).value } }
          }),
        ),
      ),
    )
    .delete(
      '/metadata/:bucket/:key{.*}',
      operation(deleteMetadata, async (c) => {
        await change(c, async (key) =>
          key === undefined ? { metadata: null } : { metadata_merge: { [key]: null } },
        )
        return c.body(null, 204)
      }),
    )
}

function targetOf(c: AppContext): { bucket: string; name: string } {
  const target = objectTarget(c.req.path, '/metadata/')
  logTarget(c, target.bucket, target.name)
  return target
}
