import { z } from 'zod'
import { fields, flag, integer, optional } from '../../message/json-fields.ts'
import { moment } from '../../message/moment.ts'
import type { Describe } from '../../openapi/operation.ts'
import { numeric, pageOf, time, uuid } from '../../openapi/shapes.ts'
import { addedVersion, ownShape } from './object.ts'
import { UPLOAD_ERRORS, UPLOAD_HEADERS, uploadAnswers, uploadBody } from './transfers.ts'

const text = z.string('must be a string')
const beginning = text.max(4096, 'is too long')

export const restoreSchema = fields({ bucket: text, path: text, version_id: text })

/** In names of one call. */
export const MAX_NAMES = 1000

export const travelSchema = fields({
  bucket: text,
  prefix: beginning.describe(
    'What the names begin with: `reports/` is a folder, and nothing the whole bucket.',
  ),
  at: moment,
  to: optional(beginning).describe(
    'What they begin with where they are restored to; then nothing is deleted. Without it they are restored where they are.',
  ),
  dry_run: optional(flag()).describe('Only count.'),
  limit: optional(integer(z.int().min(1).max(MAX_NAMES))).describe(
    `How many names are looked at, at most and without it ${MAX_NAMES}. A call also ends after some seconds.`,
  ),
  cursor: optional(text).describe('`next` of the call before, until that is null.'),
})

/** In versions and markers. */
const MAX_HISTORY = 1000
const DEFAULT_HISTORY = 100

export const historySchema = z.object({
  limit: z
    .string()
    .regex(/^\d{1,4}$/, 'must be a whole number')
    .transform(Number)
    .refine((n) => n >= 1 && n <= MAX_HISTORY, `must be from 1 to ${MAX_HISTORY}`)
    .default(DEFAULT_HISTORY)
    .meta(numeric(1)),
  cursor: z.string().max(100).optional().describe('`next` of the page before.'),
})

/** As `historyJson` makes it. */
const version = z
  .strictObject({
    version_id: z.string().nullable(),
    version_number: z.int(),
    is_latest: z.boolean(),
    is_versioned: z.boolean().describe('Whether it was written while versions were on.'),
    is_delete_marker: z.boolean(),
    size: z.int().nullable(),
    content_type: z.string().nullable(),
    checksum: z.string().nullable(),
    created_at: time.nullable().describe('Since when it was the current one.'),
    created_by: z.string().nullable(),
    archived_at: time.nullable().describe('Until when; null of the latest one.'),
    comment: z.string().nullable().describe('What its writer says of it.'),
  })
  .meta({ id: 'ObjectVersion' })

/** Of POST. */
export const newVersionSchema = z.object({
  snapshot: z
    .enum(['true', 'false'])
    .optional()
    .describe(
      '`true`: what is there now becomes a version, and is there as another one. There is no body then.',
    ),
})

export const addVersion: Describe = (server) => ({
  id: 'addVersion',
  tag: 'Objects',
  summary: 'Adds a version',
  description:
    'As an upload that replaces what is there, in a bucket whose `versioning_status` is `ENABLED`; or a snapshot, without a body.',
  access: 'token',
  query: newVersionSchema,
  headers: ['x-version-comment', ...UPLOAD_HEADERS],
  body: { ...uploadBody, isOptional: true },
  answers: uploadAnswers(server, addedVersion(server), false),
  errors: [
    ...UPLOAD_ERRORS,
    'InvalidKey',
    'InvalidParameter',
    'AccessDenied',
    'NoSuchKey',
    'FeatureNotEnabled',
  ],
})

export const listHistory: Describe = () => ({
  id: 'listVersionsOfObject',
  tag: 'Objects',
  summary: 'Lists the versions of a name',
  description: 'Newest first, with markers.',
  access: 'token',
  query: historySchema,
  answers: { 200: { description: 'A page of them.', json: pageOf(version, z.string()) } },
  errors: ['InvalidRequest', 'InvalidParameter', 'NoSuchKey'],
})

const restored = z
  .strictObject({ Id: uuid, Key: z.string(), version: z.string().nullable(), ...ownShape })
  .meta({ id: 'RestoredVersion' })

const travelled = z
  .strictObject({
    restored: z.int(),
    deleted: z.int(),
    unchanged: z.int(),
    unavailable: z.int(),
    sample: z
      .array(
        z.strictObject({
          name: z.string(),
          outcome: z.enum(['restored', 'deleted', 'unavailable']),
          reason: z
            .string()
            .nullable()
            .describe(
              '`not_kept`, `before_history`, `changed`, `would_be_lost`, or the code of its refusal.',
            ),
        }),
      )
      .describe('Up to 100 that are unavailable, then up to 100 others.'),
    history_since: time.nullable().describe('What was deleted before may have left no trace.'),
    next: z.string().nullable().describe('`cursor` of the next call; null when nothing is left.'),
  })
  .meta({ id: 'RestoredFolder' })

export const restoreVersion: Describe = () => ({
  id: 'restoreVersion',
  tag: 'Objects',
  summary: 'Brings a version back, or a folder to what it was',
  description:
    'A version comes back as another one, with its bytes and metadata; what is there now becomes a version itself. With `prefix` and ' +
    '`at` the same is done with all names that begin so, one by one, and those that came later are deleted.',
  access: 'token',
  body: { json: z.union([restoreSchema, travelSchema]) },
  answers: {
    200: {
      description: 'The version is what the name has now; or what has become of the names.',
      json: z.union([restored, travelled]),
    },
  },
  errors: ['NoSuchVersion', 'NoSuchBucket', 'AccessDenied', 'InvalidParameter', 'FeatureNotEnabled'],
})
