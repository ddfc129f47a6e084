import { z } from 'zod'
import { fields } from '../../message/json-fields.ts'
import type { Describe } from '../../openapi/operation.ts'
import { numeric, pageOf, time, uuid } from '../../openapi/shapes.ts'
import { ownShape, uploaded } from './object.ts'
import { UPLOAD_ERRORS, UPLOAD_HEADERS, uploadAnswers, uploadBody } from './transfers.ts'

const text = z.string('must be a string')

export const restoreSchema = fields({ bucket: text, path: text, version_id: text })

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
  answers: uploadAnswers(server, uploaded(server), false),
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
  errors: ['InvalidRequest', 'NoSuchKey'],
})

export const restoreVersion: Describe = () => ({
  id: 'restoreVersion',
  tag: 'Objects',
  summary: 'Brings a version back',
  description: 'As another version, with its bytes and metadata. What is there now becomes a version itself.',
  access: 'token',
  body: { json: restoreSchema },
  answers: {
    200: {
      description: 'It is what the name has now.',
      json: z
        .strictObject({ Id: uuid, Key: z.string(), version: z.string().nullable(), ...ownShape })
        .meta({ id: 'RestoredVersion' }),
    },
  },
  errors: ['NoSuchVersion', 'NoSuchBucket', 'AccessDenied'],
})
