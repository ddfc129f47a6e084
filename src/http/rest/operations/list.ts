import { z } from 'zod'
import { fields, flag, integer, optional, textList } from '../../message/json-fields.ts'
import { moment } from '../../message/moment.ts'
import type { Describe } from '../../openapi/operation.ts'
import { anyObject, autoDeleteShape, shapeOf, time, uuid, versionShape } from '../../openapi/shapes.ts'
import { MOST_SKIPPED } from '../offset.ts'
import { filterSchema } from './list-filter.ts'

const order = z.enum(['asc', 'desc'], 'must be asc or desc')
const text = z.string('must be a string').max(4096, 'is too long')

const listed = z.enum(['exclude', 'include', 'only'], 'must be exclude, include or only')
/** Wire §13.2. */
const versions = {
  noncurrentVersions: optional(listed).describe(
    'Whether former versions are shown, newest first, or nothing else; `exclude` without it.',
  ),
  deleteMarkers: optional(listed).describe('The same of delete markers.'),
  exactMatch: optional(flag()).describe('Whether the prefix is the whole name.'),
  at: optional(moment).describe('As it was at this time, by name; goes with none of the other three.'),
}

/** Wire §3.12. */
export const MAX_LIST = 1500
export const DEFAULT_LIST = 100
export const listSchema = fields({
  prefix: text.describe('The folder, with or without its slash; empty is the top.'),
  limit: optional(integer(z.int().min(1))).describe(`At most ${MAX_LIST} are shown; else ${DEFAULT_LIST}.`),
  offset: optional(integer(z.int().min(0).max(2_000_000_000))),
  ...versions,
  search: text.nullish().describe('What the names begin with, behind the prefix.'),
  sortBy: fields({
    column: z.enum(['name', 'updated_at', 'created_at', 'last_accessed_at']).nullish(),
    order: order.nullish(),
  }).nullish(),
})

/** Wire §3.13. */
export const MAX_PAGE = 1000
const page = {
  prefix: text.nullish().describe('What the names begin with.'),
  limit: optional(integer(z.int().min(1))).describe(`At most ${MAX_PAGE} are shown, and else, too.`),
  cursor: z.string().nullish().describe('`nextCursor` of the page before.'),
  sortBy: fields({
    column: z.enum(['name', 'updated_at', 'created_at']).nullish(),
    order: order.nullish(),
  }).nullish(),
}

const INCLUDED = ['tags', 'metadata', 'status'] as const

/** docs/filters.md. */
const filtered = {
  filter: optional(filterSchema).describe('What alone is shown: what is all of this.'),
  offset: optional(
    integer(
      z
        .int('must be a whole number')
        .min(0, 'must be at least 0')
        .max(MOST_SKIPPED, `must be at most ${MOST_SKIPPED}`),
    ),
  ).describe('How many of them the first page passes over.'),
  include: optional(
    textList(
      z.array(z.enum(INCLUDED, `must be of ${INCLUDED.join(', ')}`)).max(INCLUDED.length, 'is too long'),
    ),
  ).describe('What else is told of each; `metadata` is the user metadata.'),
  download_urls: optional(
    integer(z.int('must be a whole number of seconds').min(1, 'must be at least 1 second')),
  ).describe('Tells a signed URL of each, which works for so many seconds.'),
  stable: optional(flag()).describe('Whether that is the same for everybody for a while.'),
}

export const pageSchema = fields({
  ...page,
  ...versions,
  ...filtered,
  with_delimiter: optional(flag()).describe('Whether folders are shown as one.'),
})

export const allBucketsSchema = fields({ ...page, ...filtered })

export type FilteredBody = z.infer<typeof allBucketsSchema>

const entry = {
  name: z.string(),
  id: uuid.nullable().describe('Null of a folder, as all that follows.'),
  updated_at: time.nullable(),
  created_at: time.nullable(),
  last_accessed_at: time.nullable(),
  metadata: anyObject
    .nullable()
    .describe('What the server knows of the object: size, mimetype, eTag and more.'),
  version: z.string().nullable().optional(),
  archived_at: versionShape.archived_at,
  is_versioned: versionShape.is_versioned.nullable(),
  is_delete_marker: versionShape.is_delete_marker.nullable(),
}
const listEntry = shapeOf('ListEntry', entry, autoDeleteShape)
const asked = {
  tags: z.array(z.string()).optional().describe('By `include`, as the next two.'),
  user_metadata: anyObject.nullable().optional(),
  status: z.string().optional(),
  download_url: z.string().optional().describe('By `download_urls`.'),
  download_url_expires_at: time.optional(),
}
const pageEntry = shapeOf(
  'PageEntry',
  { key: z.string().optional().describe('The last segment, with a delimiter.'), ...entry, ...asked },
  autoDeleteShape,
)
const bucketEntry = shapeOf(
  'EntryOfBucket',
  { bucket: z.string(), bucket_id: z.string().describe('The same.'), ...entry, ...asked },
  autoDeleteShape,
)

export const listObjects: Describe = (server) => ({
  id: 'listObjects',
  tag: 'Lists',
  summary: 'Lists one level of a folder',
  description: 'What the policies show. A bucket that is not there has nothing in it.',
  access: 'token',
  body: { json: listSchema },
  answers: { 200: { description: 'Objects and folders.', json: z.array(listEntry(server)) } },
  errors: ['InvalidParameter'],
})

export const listObjectsByCursor: Describe = (server) => ({
  id: 'listObjectsByCursor',
  tag: 'Lists',
  summary: 'Lists full names from a cursor on',
  description:
    'What the policies show. A bucket that is not there has nothing in it. A page of versions, of a time, or with a filter, may be empty ' +
    'though there are more behind it.',
  access: 'tokenOfV2',
  body: { json: pageSchema, isOptional: true },
  answers: {
    200: {
      description: 'A page.',
      json: z.strictObject({
        hasNext: z.boolean(),
        nextCursor: z.string().optional(),
        nextCursorKey: z.string().optional().describe('The last name of the page, if it has any.'),
        folders: z.array(pageEntry(server)),
        objects: z.array(pageEntry(server)),
      }),
    },
  },
  errors: ['InvalidParameter'],
})

export const listObjectsOfAllBuckets: Describe = (server) => ({
  id: 'listObjectsOfAllBuckets',
  tag: 'Lists',
  summary: 'Lists full names of all buckets from a cursor on',
  description:
    'What the policies show, by bucket and name, or, of one owner or organisation, by when it was made. A page may be empty though ' +
    'there are more behind it.',
  access: 'tokenOfV2',
  body: { json: allBucketsSchema, isOptional: true },
  answers: {
    200: {
      description: 'A page.',
      json: z.strictObject({
        hasNext: z.boolean(),
        nextCursor: z.string().optional(),
        nextCursorKey: z.string().optional().describe('The last name of the page, if it has any.'),
        folders: z.array(bucketEntry(server)).describe('Always empty.'),
        objects: z.array(bucketEntry(server)),
      }),
    },
  },
  errors: ['InvalidParameter'],
})
