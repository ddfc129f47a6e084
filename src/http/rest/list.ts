import { Hono } from 'hono'
import { z } from 'zod'
import type { ListEntry } from '../../database/queries/listing.ts'
import { askerOf, requireCaller } from '../auth/caller.ts'
import { type Env, logTarget } from '../env.ts'
import { jsonReader } from '../message/json-body.ts'
import { fields, flag, integer, optional } from '../message/json-fields.ts'
import { objectTarget } from '../message/request-path.ts'
import type { Services } from '../services.ts'
import { checkOffset } from './offset.ts'

const order = z.enum(['asc', 'desc'], 'must be asc or desc')
const text = z.string('must be a string').max(4096, 'is too long')

/** Wire §3.12. */
const MAX_LIST = 1500
const DEFAULT_LIST = 100
const listSchema = fields({
  prefix: text,
  limit: optional(integer(z.int().min(1))),
  offset: optional(integer(z.int().min(0).max(2_000_000_000))),
  search: text.nullish(),
  sortBy: fields({
    column: z.enum(['name', 'updated_at', 'created_at', 'last_accessed_at']).nullish(),
    order: order.nullish(),
  }).nullish(),
})

/** Wire §3.13. */
const MAX_PAGE = 1000
const pageSchema = fields({
  prefix: text.nullish(),
  limit: optional(integer(z.int().min(1))),
  cursor: z.string().nullish(),
  with_delimiter: optional(flag()),
  sortBy: fields({
    column: z.enum(['name', 'updated_at', 'created_at']).nullish(),
    order: order.nullish(),
  }).nullish(),
})

export function listRoutes(services: Services) {
  const { lists } = services
  const readJson = jsonReader(services)
  return new Hono<Env>()
    .post('/object/list/:bucket', async (c) => {
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
    })
    .post('/object/list-v2/:bucket', async (c) => {
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
    })
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
