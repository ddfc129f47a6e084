import { Hono } from 'hono'
import type { z } from 'zod'
import type { ListEntry } from '../../database/queries/listing.ts'
import { StorageError } from '../../model/errors.ts'
import type { ListedVersions } from '../../storage/object-lists.ts'
import { askerOf, requireCaller } from '../auth/caller.ts'
import { type Env, logTarget } from '../env.ts'
import { jsonReader } from '../message/json-body.ts'
import { objectTarget } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { filteredPage, isFiltered } from './filtered-list.ts'
import { checkOffset } from './offset.ts'
import {
  allBucketsSchema,
  DEFAULT_LIST,
  listObjects,
  listObjectsByCursor,
  listObjectsOfAllBuckets,
  listSchema,
  MAX_LIST,
  MAX_PAGE,
  pageSchema,
} from './operations/list.ts'
import { listEntryJson } from './responses.ts'

export function listRoutes(services: Services) {
  const { lists } = services
  const readJson = jsonReader(services)
  const entryJson = (entry: Omit<ListEntry, 'exact'>) => listEntryJson(services, entry)

  return new Hono<Env>()
    .post(
      '/object/list/:bucket',
      operation(listObjects, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.list')
        const { bucket } = objectTarget(c.req.path, '/object/list/')
        logTarget(c, bucket)
        const body = await readJson(c.env.incoming, listSchema)
        checkOffset(services, body.offset ?? 0)
        const which = versionsOf(body)
        if (which) {
          const found = await lists.levelOfVersions(caller, askerOf(c, services, caller), bucket, {
            which,
            prefix: body.prefix,
            search: body.search ?? '',
            limit: Math.min(body.limit ?? DEFAULT_LIST, MAX_LIST),
            offset: body.offset ?? 0,
          })
          return c.json(found.map(entryJson))
        }
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
        const asker = askerOf(c, services, caller)
        const page = {
          prefix: body.prefix ?? '',
          delimited,
          limit: Math.min(body.limit ?? MAX_PAGE, MAX_PAGE),
          cursor: body.cursor ?? undefined,
        }
        const which = versionsOf(body)
        if (isFiltered(body)) {
          if (delimited || which) {
            throw new StorageError('InvalidParameter', {
              message: 'filter, offset, include and download_urls go without folders, versions and times',
            })
          }
          return c.json(await filteredPage(c, services, caller, bucket, body))
        }
        const { entries, next } = which
          ? await lists.pageOfVersions(caller, asker, bucket, { ...page, which })
          : await lists.page(caller, asker, bucket, {
              ...page,
              column: body.sortBy?.column ?? 'name',
              order: body.sortBy?.order ?? 'asc',
            })
        const shown = entries.map((entry) => ({
          ...(delimited && { key: entry.name.replace(/\/$/, '').split('/').at(-1) }),
          ...entryJson(entry),
        }))
        return c.json({
          hasNext: next !== null,
          ...(next && {
            nextCursor: next.cursor,
            ...(next.name !== null && { nextCursorKey: next.name }),
          }),
          folders: shown.filter((_, index) => entries[index]?.isFolder),
          objects: shown.filter((_, index) => !entries[index]?.isFolder),
        })
      }),
    )
    .post(
      '/object/list-v2',
      operation(listObjectsOfAllBuckets, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.list_v2', 'TokenRequired')
        const body = await readJson(c.env.incoming, allBucketsSchema)
        return c.json(await filteredPage(c, services, caller, null, body))
      }),
    )
}

/** @throws InvalidParameter for an order that a list of versions has not, and for a time with other versions */
function versionsOf(
  body: Pick<z.infer<typeof pageSchema>, 'noncurrentVersions' | 'deleteMarkers' | 'exactMatch' | 'at'> & {
    sortBy?: { column?: string | null | undefined; order?: string | null | undefined } | null | undefined
  },
): ListedVersions | undefined {
  const { noncurrentVersions = 'exclude', deleteMarkers = 'exclude', exactMatch = false, at, sortBy } = body
  const isOfNow = noncurrentVersions === 'exclude' && deleteMarkers === 'exclude' && !exactMatch
  if (isOfNow && !at) return undefined
  if (at && !isOfNow) {
    throw new StorageError('InvalidParameter', {
      message: 'at goes without noncurrentVersions, deleteMarkers and exactMatch',
    })
  }
  if ((sortBy?.column ?? 'name') !== 'name' || sortBy?.order === 'desc') {
    throw new StorageError('InvalidParameter', { message: 'Versions are listed by name, ascending' })
  }
  return at ? { at } : { noncurrent: noncurrentVersions, markers: deleteMarkers, exact: exactMatch }
}
