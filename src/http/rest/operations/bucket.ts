import { z } from 'zod'
import { BUCKET_POLICIES, VERSIONING_STATUSES } from '../../../database/schema.ts'
import { fields, flag, ignored, integer, optional, textList } from '../../message/json-fields.ts'
import type { Describe, Operation } from '../../openapi/operation.ts'
import { message, numeric, shapeOf, time } from '../../openapi/shapes.ts'

/** A limit in bytes, or a size such as `"5MB"`; null or 0 is the global limit. */
const sizeLimit = z
  .union([z.number(), z.string(), z.null()], 'must be a number of bytes or a size such as "5MB"')
  .describe('Of one object: bytes, or a size such as `"5MB"`; null and 0 are the global limit.')

/** A number of days or the like. */
const wholeFrom = (min: number, max: number) => {
  const range = `must be a whole number from ${min} to ${max}`
  return integer(z.int(range).min(min, range).max(max, range)).nullish()
}

const settings = {
  policy: optional(z.enum(BUCKET_POLICIES, `must be one of ${BUCKET_POLICIES.join(', ')}`)).describe(
    'Who may see the objects, besides what your own policies allow.',
  ),
  public: flag().nullish().describe('`true` is the policy `public`, `false` is `private`.'),
  file_size_limit: sizeLimit.optional(),
  max_file_size: sizeLimit.optional(),
  allowed_mime_types: textList(z.array(z.string(), 'must be an array of MIME types'))
    .nullish()
    .describe('Such as `image/png` or `image/*`; null and `[]` take everything.'),
  object_lock: flag()
    .nullish()
    .describe('Whether versions can be locked. Needs `ENABLED`, and is never taken back.'),
  retention_days: integer(
    z
      .int('must be a whole number')
      .min(1, 'must be at least 1')
      .max(36_500, 'must be at most 36500')
      .optional(),
  )
    .nullish()
    .describe(
      'For how many days nobody removes a version, from when it became the current one. It only grows.',
    ),
  trash_days: wholeFrom(0, 36_500).describe(
    'For how long what is deleted stays in the trash, where no versions are kept; null and 0 are not at all.',
  ),
  max_versions: wholeFrom(1, 1000).describe(
    'How many versions a name has, the current one included; null is as the server is set.',
  ),
  version_retention_days: wholeFrom(1, 36_500).describe(
    'After how many days a version goes that was replaced or deleted; null is as the server is set.',
  ),
  path_template: z
    .string('must be a text, or null')
    .nullish()
    .describe('How names are made for uploads without one, such as `{user_id}/{random8}_{file_name}`.'),
}

export type BucketSettings = typeof settings

const SETTINGS = Object.keys(settings) as (keyof typeof settings)[]

/** What answers tell of a bucket besides: some clients send it back whole, the C# SDK with nulls. */
const told = {
  owner: ignored,
  created_at: ignored,
  updated_at: ignored,
  file_count: ignored,
  total_size: ignored,
}

export const createSchema = fields({
  ...settings,
  ...told,
  name: z.string('must be a string'),
  id: optional(z.string('must be a string')).describe('The same as `name`, unless it is to be another.'),
  type: optional(z.enum(['STANDARD', 'ANALYTICS'])),
  versioning_status: optional(z.enum(['DISABLED', 'ENABLED'])).describe(
    'Whether what is overwritten or deleted stays as a version.',
  ),
})

/** Wire §2.3: at least one setting; `id` and `name` come along and mean nothing, since nothing is renamed. */
export const updateSchema = fields({
  ...settings,
  versioning_status: optional(z.enum(VERSIONING_STATUSES)).describe(
    'From `DISABLED` to `ENABLED`, and between that and `SUSPENDED`.',
  ),
  ...told,
  id: ignored,
  name: ignored,
  type: ignored,
}).refine(
  (body) => [...SETTINGS, 'versioning_status' as const].some((name) => body[name] !== undefined),
  `must name at least one of ${[...SETTINGS, 'versioning_status'].join(', ')}`,
)

const wholeNumber = (min: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, 'must be a whole number')
    .transform(Number)
    .refine((n) => n >= min, `must be at least ${min}`)

export const listSchema = z.object({
  limit: wholeNumber(1).optional().meta(numeric(1)),
  offset: wholeNumber(0).default(0).meta(numeric(0)),
  sortColumn: z.enum(['id', 'name', 'created_at', 'updated_at']).optional(),
  sortOrder: z.enum(['asc', 'desc']).default('asc'),
  search: z.string().max(1000, 'is too long').optional().describe('A part of the name, in any case.'),
  stats: z
    .enum(['true', 'false'])
    .optional()
    .describe('`true` counts objects and their bytes; not under STORAGE_COMPAT=supabase.'),
})

export const getSchema = listSchema.pick({ stats: true })

const base = {
  id: z.string(),
  name: z.string(),
  owner: z.string().describe("The maker's UUID, or empty."),
  public: z.boolean(),
  file_size_limit: z.int().nullable(),
  allowed_mime_types: z.array(z.string()).nullable(),
  created_at: time,
  updated_at: time,
  versioning_status: z.enum(VERSIONING_STATUSES).optional().describe('Not told to Python clients of old.'),
}

const own = {
  policy: z.enum(BUCKET_POLICIES),
  max_file_size: z.int().nullable(),
  object_lock: z.boolean(),
  retention_days: z.int().nullable(),
  trash_days: z.int(),
  max_versions: z.int().nullable().describe('Null where versions were never switched on, and is not said.'),
  version_retention_days: z.int().nullable(),
  path_template: z.string().nullable().describe("Null: the server's own."),
  file_count: z.int().optional().describe('With `?stats=true`.'),
  total_size: z.int().optional().describe('In bytes, with `?stats=true`.'),
}

/** Wire §2.1. */
const bucket = shapeOf('Bucket', base, own)
const listedBucket = shapeOf(
  'ListedBucket',
  // Not told to Python clients of old.
  { ...base, type: z.enum(['STANDARD', 'ANALYTICS']).optional() },
  own,
)
const madeBucket = z.strictObject({ name: z.string() })

const bucketOperation = (operation: Omit<Operation, 'tag' | 'path'>): Operation => ({
  tag: 'Buckets',
  path: { id: 'The id of a bucket.' },
  ...operation,
})

export const createBucket: Describe = ({ supabaseCompat }) =>
  bucketOperation({
    id: 'createBucket',
    summary: 'Makes a bucket',
    access: 'token',
    headers: ['if-none-match'],
    body: { json: createSchema },
    answers: { [supabaseCompat ? 200 : 201]: { description: 'It is made.', json: madeBucket } },
    errors: [
      'InvalidBucketName',
      'InvalidMimeType',
      'EntityTooLarge',
      'AccessDenied',
      'BucketAlreadyExists',
      'PreconditionFailed',
    ],
  })

export const listBuckets: Describe = (server) =>
  bucketOperation({
    id: 'listBuckets',
    summary: 'Lists buckets',
    description: 'Those that the policies show.',
    access: 'token',
    query: listSchema,
    answers: { 200: { description: 'The buckets.', json: z.array(listedBucket(server)) } },
    errors: ['InvalidRequest', ...(server.supabaseCompat ? [] : (['InvalidParameter'] as const))],
  })

export const getBucket: Describe = (server) =>
  bucketOperation({
    id: 'getBucket',
    summary: 'Tells of a bucket',
    access: 'token',
    ...(server.supabaseCompat ? {} : { query: getSchema }),
    headers: ['if-none-match'],
    answers: {
      200: {
        description: 'The bucket. Its `ETag` is of its settings.',
        json: bucket(server),
        mayCarry: ['ETag'],
      },
      304: { description: 'It is as the client knows it.', headers: ['ETag'] },
    },
    errors: ['InvalidRequest', 'NoSuchBucket'],
  })

export const updateBucket: Describe = () =>
  bucketOperation({
    id: 'updateBucket',
    summary: 'Changes settings of a bucket',
    description: 'At least one. What is left out stays as it is; null clears it.',
    access: 'token',
    headers: ['if-match', 'if-unmodified-since'],
    body: { json: updateSchema },
    answers: { 200: { description: 'They are changed.', json: message } },
    errors: [
      'InvalidParameter',
      'InvalidMimeType',
      'EntityTooLarge',
      'NoSuchBucket',
      'KeptByRule',
      'ObjectLocked',
      'PreconditionFailed',
    ],
  })

export const emptyBucket: Describe = () =>
  bucketOperation({
    id: 'emptyBucket',
    summary: 'Deletes all objects of a bucket',
    description: 'It goes on though the client leaves.',
    access: 'service',
    answers: { 200: { description: 'It is empty.', json: message } },
    errors: ['InvalidRequest', 'NoSuchBucket', 'ObjectLocked'],
  })

export const deleteBucket: Describe = ({ supabaseCompat }) =>
  bucketOperation({
    id: 'deleteBucket',
    summary: 'Deletes an empty bucket',
    access: 'token',
    headers: ['if-match', 'if-unmodified-since'],
    answers: { 200: { description: 'It is deleted.', json: message } },
    errors: [
      'InvalidRequest',
      'NoSuchBucket',
      'ResourceNotEmpty',
      'PreconditionFailed',
      ...(supabaseCompat ? [] : (['KeptByRule'] as const)),
    ],
  })
