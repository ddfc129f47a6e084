import { z } from 'zod'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { SignedFolders } from '../../storage/links/signed-folders.ts'
import type { UrlClaims } from '../../storage/links/url-token.ts'
import type { ObjectLists } from '../../storage/object-lists.ts'
import type { AppContext } from '../env.ts'
import { checkShape } from '../message/json-body.ts'
import { askerOf } from './caller.ts'

export interface ListServices {
  lists: ObjectLists
  folders: SignedFolders
  trustProxy: boolean
}

const MAX_PAGE = 1000

/** Of the query of a signed folder's URL, where it is asked what is in it. */
export const signedListQuery = z.object({
  list: z
    .enum(['true', 'false'], 'must be true or false')
    .optional()
    .describe('Whether to tell what is in it.'),
  with_delimiter: z
    .enum(['true', 'false'])
    .optional()
    .describe('Of a list: whether folders are shown as one.'),
  limit: z
    .string()
    .regex(/^[1-9]\d{0,3}$/, 'must be from 1 to 1000')
    .optional()
    .describe('Of a list: at most, up to 1000.'),
  cursor: z.string().max(8192).optional().describe('Of a list: `nextCursor` of the page before.'),
})

/** As `sendList` makes it. */
export const signedList = z
  .strictObject({
    hasNext: z.boolean(),
    nextCursor: z.string().optional(),
    folders: z.array(z.strictObject({ name: z.string() })),
    objects: z.array(
      z.strictObject({
        name: z.string(),
        size: z.int().nullable(),
        content_type: z.string().nullable(),
        updated_at: z.iso.datetime().nullable(),
      }),
    ),
  })
  .meta({ id: 'SignedList' })

export function isListWanted(query: string): boolean {
  return query.includes('list=') && new URLSearchParams(query).get('list') === 'true'
}

/** Tells what is below a signed folder, of what its signer sees. Names are whole. @throws AccessDenied, InvalidRequest, InvalidParameter */
export async function sendList(
  c: AppContext,
  { lists, folders, trustProxy }: ListServices,
  asked: { caller: Caller; bearer: Caller; bucket: string; name: string; granted: UrlClaims; query: string },
): Promise<Response> {
  const { caller, bearer, bucket, name: prefix, granted } = asked
  c.env.notes.operation = 'storage.object.list_signed'
  if (!granted.list) {
    throw new StorageError('AccessDenied', { message: 'The signed URL is not for listing' })
  }
  const sent = Object.fromEntries(new URLSearchParams(asked.query))
  const { with_delimiter, limit, cursor } = checkShape('querystring', sent, signedListQuery.loose())
  await folders.checkBucket(bucket, granted)
  const asker = askerOf(c, { trustProxy }, bearer)
  const page = await lists.page({ ...caller, operation: 'storage.object.list_signed' }, asker, bucket, {
    prefix,
    delimited: with_delimiter === 'true',
    limit: Math.min(Number(limit ?? MAX_PAGE), MAX_PAGE),
    cursor,
    column: 'name',
    order: 'asc',
  })
  c.header('Cache-Control', 'private, no-cache')
  return c.json({
    hasNext: page.next !== null,
    ...(page.next && { nextCursor: page.next.cursor }),
    folders: page.entries.filter(({ isFolder }) => isFolder).map(({ name }) => ({ name })),
    objects: page.entries
      .filter(({ isFolder }) => !isFolder)
      .map(({ name, metadata, updatedAt }) => ({
        name,
        size: metadata?.size ?? null,
        content_type: metadata?.mimetype ?? null,
        updated_at: updatedAt,
      })),
  })
}
