import { z } from 'zod'
import { UUID } from '../../../lib/uuid.ts'
import { fields, flag, integer, optional } from '../../message/json-fields.ts'
import { pageLimit } from '../../message/page-limit.ts'
import type { Describe, Operation } from '../../openapi/operation.ts'
import { pageOf, time, uuid } from '../../openapi/shapes.ts'

const text = z.string('must be a string')
const yesOrNo = z.enum(['true', 'false'], 'must be true or false').transform((value) => value === 'true')

const permissionFields = fields({
  view: optional(flag()).describe('To see what it is.'),
  download: optional(flag()).describe('To get its bytes.'),
  delete: optional(flag()).describe('To delete it, in the sharer’s name.'),
})

const HOURS = 'must be a whole number from 1 to 720'
const DOWNLOADS = 'must be a whole number from 1 to 1000000000, or null'
const PASSWORD = 'must have 1 to 255 characters'

const hours = integer(z.int(HOURS).min(1, HOURS).max(720, HOURS))
const downloads = integer(z.int(DOWNLOADS).min(1, DOWNLOADS).max(1_000_000_000, DOWNLOADS))
const password = z.string('must be a string').min(1, PASSWORD).max(255, PASSWORD)

export const createSchema = fields({
  file_id: optional(text).describe('Of the object.'),
  bucket: optional(text),
  path: optional(text).describe('With `bucket`, in place of `file_id`.'),
  shared_with: optional(text.min(1, 'must not be empty').max(255, 'is too long')).describe(
    'A user’s id: signed in he needs no secret.',
  ),
  shared_with_email: optional(
    text.max(255, 'is too long').regex(/^[^\s@]+@[^\s@]+$/, 'must be an e-mail address'),
  ).describe('For who reads the list; nothing is sent.'),
  permissions: optional(permissionFields).describe('By default `view` alone.'),
  password: optional(password).describe('In place of a token.'),
  expires_hours: optional(hours).describe('24 by default.'),
  max_downloads: optional(downloads).describe('Any number without it.'),
}).refine(
  ({ file_id: id, bucket, path }) =>
    id === undefined
      ? bucket !== undefined && path !== undefined
      : bucket === undefined && path === undefined,
  'must have file_id, or bucket and path',
)

export const changeSchema = fields({
  expires_hours: optional(hours).describe('From now on.'),
  max_downloads: downloads.nullable().optional(),
  permissions: optional(permissionFields).describe('Those that are named.'),
  password: password.nullable().optional().describe('Null: a token is made in its place.'),
})

export const accessSchema = fields({ password: optional(text), token: optional(text) })

export const listSchema = z.object({
  file_id: z.string().regex(UUID, 'must be the id of an object').optional().describe('Of one object.'),
  active: yesOrNo.optional().describe('`false`: those that are over.'),
  with: z.literal('me', 'must be me').optional().describe('Those that others share with you.'),
  limit: pageLimit,
  cursor: z.string().optional().describe('`next` of the page before.'),
})

export const revokeAllSchema = z.object({
  shared_by: z.string().min(1, 'must be the id of a user').describe('Whose.'),
})

const permissions = z
  .strictObject({ view: z.boolean(), download: z.boolean(), delete: z.boolean() })
  .meta({ id: 'SharePermissions' })

/** As `shareJson` makes it. */
const shareShape = {
  share_id: z.string(),
  share_url: z.string().describe('Absolute.'),
  file_id: uuid,
  bucket: z.string().nullable().describe('Where the object is; null when it is not there.'),
  path: z.string().nullable(),
  shared_by: z.string().nullable(),
  shared_with: z.string().nullable(),
  shared_with_email: z.string().nullable(),
  permissions,
  has_password: z.boolean(),
  expires_at: time,
  max_downloads: z.int().nullable(),
  download_count: z.int(),
  last_downloaded_at: time.nullable(),
  is_active: z.boolean().describe('Neither revoked nor expired.'),
  revoked_at: time.nullable(),
  created_at: time,
  updated_at: time,
}
const share = z.strictObject(shareShape).meta({ id: 'Share' })
const shareWithToken = z
  .strictObject({
    ...shareShape,
    access_token: z.string().nullable().describe('Told this once, where one was made.'),
    message: z.string(),
  })
  .meta({ id: 'ShareWithToken' })

/** As `sharedJson` makes it. */
const shared = z
  .strictObject({
    share_id: z.string(),
    file_id: uuid,
    file_name: z.string().describe('The last part of its path.'),
    size: z.int().nullable(),
    content_type: z.string(),
    user_id: z.null(),
    created_at: time,
    updated_at: time,
    permissions,
    expires_at: time,
    remaining_downloads: z.int().nullable().describe('Null is any number.'),
    download_url: z.string().nullable().describe('Works for 15 minutes, and not longer than the share.'),
    download_url_expires_at: time.nullable(),
  })
  .meta({ id: 'SharedFile' })

const shareOperation = (operation: Omit<Operation, 'tag' | 'access'>): Operation => ({
  tag: 'Shares',
  access: 'token',
  ...operation,
})

const id = { id: 'The `share_id`.' }

export const createShare: Describe = () =>
  shareOperation({
    id: 'createShare',
    summary: 'Shares an object',
    description:
      'By its owner, or that of its bucket, or the service: with whoever has the link and the secret.',
    headers: ['idempotency-key'],
    body: { json: createSchema },
    answers: {
      201: {
        description: 'It is shared.',
        json: shareWithToken,
        headers: ['Cache-Control'],
        mayCarry: ['Idempotent-Replayed'],
      },
    },
    errors: [
      'InvalidRequest',
      'NoSuchBucket',
      'NoSuchKey',
      'AccessDenied',
      'TooManyShares',
      'IdempotencyKeyReused',
      'IdempotencyKeyInUse',
      'TooManyIdempotencyKeys',
    ],
  })

export const listShares: Describe = () =>
  shareOperation({
    id: 'listShares',
    summary: 'Lists shares',
    description: 'Newest first: your own, or those with you; for the service all.',
    query: listSchema,
    answers: { 200: { description: 'A page.', json: pageOf(share, z.string()) } },
    errors: ['InvalidRequest', 'InvalidParameter'],
  })

export const revokeShares: Describe = () => ({
  id: 'revokeSharesOf',
  tag: 'Shares',
  access: 'service',
  summary: 'Revokes all shares of a user',
  query: revokeAllSchema,
  answers: {
    200: {
      description: 'They are revoked.',
      json: z.strictObject({ message: z.string(), count: z.int() }).meta({ id: 'RevokedShares' }),
    },
  },
  errors: ['InvalidRequest'],
})

export const changeShare: Describe = () =>
  shareOperation({
    id: 'changeShare',
    summary: 'Changes a share',
    path: id,
    body: { json: changeSchema },
    answers: { 200: { description: 'As it is now.', json: shareWithToken, headers: ['Cache-Control'] } },
    errors: ['InvalidRequest', 'NoSuchShare'],
  })

export const revokeShare: Describe = () =>
  shareOperation({
    id: 'revokeShare',
    summary: 'Revokes a share',
    description: 'The URLs that it has issued end, too.',
    path: id,
    answers: { 204: { description: 'It is revoked.' } },
    errors: ['NoSuchShare'],
  })

const secretQuery = {
  token: z.string().optional().describe('Of a share without a password; or `x-share-token`.'),
  password: z.string().optional().describe('Better `x-share-password`: addresses are remembered.'),
}

/** Of whoever has the link. */
const accessOperation = (operation: Omit<Operation, 'tag' | 'access' | 'path'>): Operation => ({
  tag: 'Shares',
  access: 'optional',
  path: id,
  headers: ['x-share-token', 'x-share-password'],
  query: z.object(secretQuery),
  always: ['Cache-Control'],
  ...operation,
  errors: [
    'NoSuchShare',
    'ShareSecretRequired',
    'InvalidShareSecret',
    'TooManyShareSecrets',
    'ShareExhausted',
    'ShareForbids',
    'NoSuchKey',
    ...(operation.errors ?? []),
  ],
})

const info = {
  info: z.string().optional().describe('`true`: no URL, and nothing is counted.'),
}

export const getShare: Describe = () =>
  accessOperation({
    id: 'getShare',
    summary: 'Tells of what is shared',
    description:
      'With the secret: what it is, and a URL to download it, which counts as a download, also if it is not used. By HEAD nothing is ' +
      'counted. With `manage=true` and your token: the share itself.',
    query: z.object({
      ...secretQuery,
      ...info,
      manage: z.string().optional().describe('`true`: the share, for its sharer.'),
    }),
    answers: { 200: { description: 'What is shared; or the share.', json: z.union([shared, share]) } },
    errors: ['AuthenticationRequired', 'InvalidToken'],
  })

export const accessShare: Describe = () =>
  accessOperation({
    id: 'accessShare',
    summary: 'Tells of what is shared, for a password',
    query: z.object({ ...secretQuery, ...info }),
    body: { json: accessSchema, isOptional: true },
    answers: { 200: { description: 'What is shared.', json: shared } },
    errors: ['InvalidRequest'],
  })

export const downloadShare: Describe = () =>
  accessOperation({
    id: 'downloadShare',
    summary: 'Downloads what is shared',
    description: 'Each answer is a download; ranges and retries at the URL are not.',
    answers: { 302: { description: 'A URL to download it.', headers: ['Location'] } },
    head: {
      id: 'headShareDownload',
      summary: 'Asks whether what is shared may be downloaded',
      description: 'Nothing is counted.',
      answers: { 204: { description: 'It may.' } },
    },
  })

export const deleteShared: Describe = () =>
  accessOperation({
    id: 'deleteSharedFile',
    summary: 'Deletes what is shared',
    description: 'In the sharer’s name: his policies decide. The share ends with it.',
    answers: { 204: { description: 'It is deleted.' } },
    errors: ['KeptByRule'],
  })
