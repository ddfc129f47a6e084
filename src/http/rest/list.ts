import { Hono } from 'hono'
import type { ListEntry } from '../../database/queries/listing.ts'
import { askerOf, requireCaller } from '../auth/caller.ts'
import { type Env, logTarget } from '../env.ts'
import { jsonReader } from '../message/json-body.ts'
import { objectTarget } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { checkOffset } from './offset.ts'
import {
  DEFAULT_LIST,
  listObjects,
  listObjectsByCursor,
  listSchema,
  MAX_LIST,
  MAX_PAGE,
  pageSchema,
} from './operations/list.ts'

export function listRoutes(services: Services) {
  const { lists } = services
  const readJson = jsonReader(services)
  return new Hono<Env>()
    .post(
      '/object/list/:bucket',
      operation(listObjects, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.list')
        const { bucket } = objectTarget(c.req.path, '/object/list/')
        logTarget(c, bucket)
        const body = await readJson(c.env.incoming, listSchema)
        checkOffset(services, body.offset ?? 0)
        const entries = await lists.level(caller, askerOf(c, services, caller), bucket, {
          prefix: body.prefix,
          search: body.search ?? '',
          limit: Math.min(body.limit ?? DEFAULT_LIST, MAX_LIST),
          offset: body.offset ?? 0,
          column: body.sortBy?.column ?? 'name',
          order: body.sortBy?.order ?? 'asc',
        })
        return c.json(entries.map(entryJson))
      }),
    )
    .post(
      '/object/list-v2/:bucket',
      operation(listObjectsByCursor, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.list_v2', 'TokenRequired')
        const { bucket } = objectTarget(c.req.path, '/object/list-v2/')
        logTarget(c, bucket)
        const body = await readJson(c.env.incoming, pageSchema)
        const delimited = body.with_delimiter ?? false
        const { entries, next } = await lists.page(caller, askerOf(c, services, caller), bucket, {
          prefix: body.prefix ?? '',
          delimited,
          limit: Math.min(body.limit ?? MAX_PAGE, MAX_PAGE),
          cursor: body.cursor ?? undefined,
          column: body.sortBy?.column ?? 'name',
          order: body.sortBy?.order ?? 'asc',
        })
        const shown = entries.map((entry) => ({
          ...(delimited && { key: entry.name.replace(/\/$/, '').split('/').at(-1) }),
          ...entryJson(entry),
        }))
        return c.json({
          hasNext: next !== null,
          ...(next && { nextCursor: next.cursor, nextCursorKey: next.name }),
          folders: shown.filter((_, index) => entries[index]?.isFolder),
          objects: shown.filter((_, index) => !entries[index]?.isFolder),
        })
      }),
    )
}

function entryJson(entry: ListEntry) {
  return {
    name: entry.name,
    id: entry.id,
    updated_at: entry.updatedAt,
    created_at: entry.createdAt,
    last_accessed_at: entry.lastAccessedAt,
    metadata: entry.metadata,
  }
}
