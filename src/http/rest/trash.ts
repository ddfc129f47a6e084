import { Hono } from 'hono'
import type { TrashEntry, TrashedObject } from '../../database/queries/trash.ts'
import { askerOf, requireCaller } from '../auth/caller.ts'
import { type Env, logObject, logTarget } from '../env.ts'
import { checkShape, jsonReader } from '../message/json-body.ts'
import { decodeSegment, queryOf } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import {
  deleteTrash,
  emptySchema,
  emptyTrash,
  listSchema,
  listTrash,
  restoreSchema,
  restoreTrash,
} from './operations/trash.ts'

/** What was deleted and can come back (docs/versions.md). */
export function trashRoutes(services: Services) {
  const { trash } = services
  const readJson = jsonReader(services)
  return new Hono<Env>()
    .get(
      '/trash',
      operation(listTrash, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.list_trash')
        const query = checkShape('querystring', Object.fromEntries(queryOf(c.env)), listSchema)
        const { bucket, prefix, cursor, limit } = query
        if (bucket !== undefined) logTarget(c, bucket)
        const request = { bucket, prefix, cursor, limit, deletedBy: query.deleted_by }
        const { entries, next } = await trash.list(caller, askerOf(c, services, caller), request)
        return c.json({ items: entries.map(entryJson), next })
      }),
    )
    .post(
      '/trash/restore',
      operation(restoreTrash, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.restore')
        const { ids, bucket, path, to, overwrite = false } = await readJson(c.env.incoming, restoreSchema)
        if (ids !== undefined && ids.length > 1) {
          const { restored, failed } = await trash.restoreEach(caller, ids, { overwrite })
          c.env.notes.each = [
            ...restored.map((object) => ({ path: object.name, objectId: object.id, status: 200 })),
            ...failed.map(({ id, error }) => ({ path: '', objectId: id, status: error.status })),
          ]
          return c.json({
            restored: restored.map(trashedJson),
            failed: failed.map(({ id, error }) => ({ id, code: error.code, message: error.message })),
          })
        }
        const id = ids?.[0]
        const target = id === undefined ? { bucket: bucket ?? '', name: path ?? '' } : { id }
        if ('bucket' in target) logTarget(c, target.bucket, target.name)
        const object = await trash.restore(caller, target, { to, overwrite })
        logTarget(c, object.bucket, object.name)
        logObject(c, object)
        return c.json({ restored: [trashedJson(object)], failed: [] })
      }),
    )
    .post(
      '/trash/empty',
      operation(emptyTrash, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.empty_trash')
        const { bucket, older_than_days: olderThanDays = 0 } = await readJson(c.env.incoming, emptySchema)
        if (bucket !== undefined) logTarget(c, bucket)
        const count = await trash.empty(caller, { bucket, olderThanDays })
        return c.json({ message: 'Successfully emptied', count })
      }),
    )
    .delete(
      '/trash/:id',
      operation(deleteTrash, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.purge')
        const object = await trash.delete(caller, decodeSegment(c.req.path.split('/')[2] ?? ''))
        logTarget(c, object.bucket, object.name)
        logObject(c, object)
        return c.body(null, 204)
      }),
    )
}

function trashedJson(object: TrashedObject) {
  return {
    id: object.id,
    bucket: object.bucket,
    path: object.name,
    version: object.version,
    size: object.size,
    content_type: object.contentType,
    checksum: object.checksum,
    owner_id: object.ownerId,
    metadata: object.userMetadata,
    created_at: object.createdAt,
    updated_at: object.updatedAt,
  }
}

function entryJson(entry: TrashEntry) {
  return {
    ...trashedJson(entry),
    deleted_at: entry.deletedAt,
    deleted_by: entry.deletedBy,
    purge_at: entry.purgeAt,
    status: 'deleted',
    is_deleted: true,
  }
}
