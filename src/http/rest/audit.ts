import { Hono } from 'hono'
import { askerOf, requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logTarget } from '../env.ts'
import { checkShape } from '../message/json-body.ts'
import { objectTarget, queryOf } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { cursorAt, listAudit, listObjectAudit, listSchema, pageSchema, placeAt } from './operations/audit.ts'

/** What was done: all of it for the service, what was done with an object for its owner (decision 0062). */
export function auditRoutes(services: Services) {
  const { audit } = services
  return new Hono<Env>()
    .get(
      '/audit',
      operation(listAudit, async (c) => {
        const caller = await requireCaller(c, services, 'storage.audit.list')
        const { limit, cursor, ...query } = checkShape('querystring', sentQuery(c), listSchema)
        const { user_id: userId, file_id: fileId, bucket, action, role, allowed, from, to } = query
        const filter = {
          ...{ userId, fileId, bucket, action, role },
          allowed: allowed === undefined ? undefined : allowed === 'true',
          from: from === undefined ? undefined : new Date(from),
          to: to === undefined ? undefined : new Date(to),
        }
        const page = { limit: limit + 1, after: placeAt(cursor) }
        const rows = await audit.list(caller, askerOf(c, services, caller), filter, page)
        return c.json(pageOf(rows, limit))
      }),
    )
    .get(
      '/audit/:bucket/:key{.+}',
      operation(listObjectAudit, async (c) => {
        const caller = await requireCaller(c, services, 'storage.audit.get')
        const target = objectTarget(c.req.path, '/audit/')
        logTarget(c, target.bucket, target.name)
        const { limit, cursor } = checkShape('querystring', sentQuery(c), pageSchema)
        const page = { limit: limit + 1, after: placeAt(cursor) }
        const rows = await audit.ofObject(caller, askerOf(c, services, caller), target, page)
        return c.json(pageOf(rows, limit))
      }),
    )
}

function sentQuery(c: AppContext): Record<string, string> {
  return Object.fromEntries(queryOf(c.env))
}

/** @param rows one more than the page has, if there are more */
function pageOf<Row extends { at: string; id: string }>(rows: Row[], limit: number) {
  const items = rows.slice(0, limit)
  const last = rows.length > limit ? items.at(-1) : undefined
  return { items, next: last ? cursorAt(last) : null }
}
