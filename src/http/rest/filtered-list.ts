import type { FilteredEntry } from '../../database/queries/filtered-list.ts'
import type { Caller } from '../../model/caller.ts'
import type { LinkOptions } from '../../storage/links/signed-urls.ts'
import { askerOf } from '../auth/caller.ts'
import type { AppContext } from '../env.ts'
import type { Services } from '../services.ts'
import { type FilteredBody, MAX_PAGE } from './operations/list.ts'
import { listFilter } from './operations/list-filter.ts'
import { listEntryJson } from './responses.ts'
import { signedJson } from './signed-json.ts'

/** Whether it asks for what only a list with filters knows. */
export function isFiltered({ filter, offset, include, download_urls: seconds }: FilteredBody): boolean {
  return [filter, offset, include, seconds].some((field) => field !== undefined)
}

/**
 * A page of what is so and so (docs/filters.md).
 *
 * @param bucket null is all of them: then each entry says its own
 */
export async function filteredPage(
  c: AppContext,
  services: Services,
  caller: Caller,
  bucket: string | null,
  body: FilteredBody,
) {
  const { include = [], download_urls: seconds } = body
  const { entries, cursor } = await services.filteredLists.page(caller, askerOf(c, services, caller), {
    bucketId: bucket,
    prefix: body.prefix ?? '',
    filter: listFilter(body.filter ?? {}),
    limit: Math.min(body.limit ?? MAX_PAGE, MAX_PAGE),
    cursor: body.cursor ?? undefined,
    offset: body.offset ?? 0,
    column: body.sortBy?.column ?? 'name',
    order: body.sortBy?.order ?? 'asc',
    withMetadata: include.includes('metadata'),
  })
  const objects = []
  for (const entry of entries) {
    objects.push({
      ...(bucket === null && { bucket: entry.bucket, bucket_id: entry.bucket }),
      ...listEntryJson(services, entry),
      ...(include.includes('tags') && { tags: entry.tags }),
      ...(include.includes('metadata') && { user_metadata: entry.userMetadata }),
      ...(include.includes('status') && { status: 'available' }),
      ...(seconds !== undefined &&
        (await linkJson(c, services, caller, entry, {
          expiresInSeconds: seconds,
          isStable: body.stable === true,
        }))),
    })
  }
  const last = entries.at(-1)
  return {
    hasNext: cursor !== null,
    ...(cursor !== null && { nextCursor: cursor, ...(last && { nextCursorKey: last.name }) }),
    folders: [],
    objects,
  }
}

async function linkJson(
  c: AppContext,
  services: Services,
  caller: Caller,
  { bucket, name, bucketUid }: FilteredEntry,
  options: LinkOptions,
) {
  if (bucketUid === null) return {}
  const signed = await services.urls.issue(caller, { bucket, name, bucketUid }, options)
  const { url, expires_at: expiresAt } = signedJson(c, services, signed)
  return { download_url: url, download_url_expires_at: expiresAt }
}
