import { z } from 'zod'
import { UUID } from '../../../lib/uuid.ts'
import type { ErrorCode } from '../../../model/errors.ts'
import { fields, flag, ignored, integer, nameList, optional } from '../../message/json-fields.ts'
import { linkFields } from '../../message/link-options.ts'
import { moment } from '../../message/moment.ts'
import type { Describe } from '../../openapi/operation.ts'
import { numeric, shapeOf, time } from '../../openapi/shapes.ts'
import { signedUploadShape } from './object.ts'
import { downloadOf, UPLOAD_ERRORS, UPLOAD_HEADERS, uploadAnswers, uploadBody } from './transfers.ts'

const seconds = integer(
  z.int('must be a whole number of seconds').min(1, 'must be at least 1 second'),
).describe('Seconds.')
/** The SDKs send what they put into the link's query along, and how to transform an image. */
const signed = {
  expiresIn: seconds,
  ...linkFields,
  download: ignored,
  transform: ignored,
  cacheNonce: ignored,
}
export const signSchema = fields({
  ...signed,
  versionId: optional(z.string('must be a string')).describe('Of one version, whatever is there by then.'),
  prefix: optional(flag()).describe(
    'Of all that is below this path, as whoever signs sees it when it is used.',
  ),
  list: optional(flag()).describe('With `prefix`: whether the bearer learns what there is.'),
  cookie: optional(flag()).describe(
    'With `prefix`: sets a cookie, with which a browser needs no token in addresses.',
  ),
})
/** Wire §3.11. */
export const signManySchema = fields({ ...signed, paths: nameList(1000) })
export const revokeSchema = fields({
  token: optional(z.string('must be a string')).describe('One, by its token.'),
  id: optional(z.string('must be a string').regex(UUID, 'must be the id of a signed URL')).describe(
    'One, by its id; with bucket and path, unless by the service.',
  ),
  bucket: optional(z.string('must be a string')),
  path: optional(z.string('must be a string')).describe('Those of an object.'),
  subject: optional(z.string('must be a string')).describe('Those that this user has signed.'),
  before: optional(moment).describe(
    'Of these, or of all, those that were signed until then; else until now.',
  ),
})

/** Stands in for the body's field. */
const inQuery = z.object({
  expires_in: z.string().optional().meta(numeric(1)).describe('Stands in for `expiresIn`.'),
})

const linkId = z.string().describe('By which it can be revoked.')
const relative = z.string().describe('Below `/storage/v1`.')
const signedObject = shapeOf(
  'SignedUrl',
  { signedURL: relative },
  {
    url: z.string().describe('Absolute.'),
    path_url: z
      .string()
      .optional()
      .describe('Of a folder: with the token in the path, so that relative addresses lead on.'),
    id: linkId,
    expires_at: time,
  },
)
const signedObjects = shapeOf(
  'SignedUrlOfMany',
  {
    path: z.string(),
    error: z.string().nullable().describe('A sentence for what is not seen.'),
    signedURL: relative.nullable(),
  },
  { url: z.string().optional(), id: linkId.optional(), expires_at: time.optional() },
)
const signedUpload = shapeOf(
  'SignedUploadUrl',
  { url: relative, token: z.string() },
  { signed_url: z.string().describe('Absolute.'), id: linkId, expires_at: time },
)

export const signUpload: Describe = (server) => ({
  id: 'signUpload',
  tag: 'Signed URLs',
  summary: 'Signs an upload',
  description: 'The URL works for two hours.',
  access: 'token',
  headers: ['x-upsert', 'x-metadata'],
  answers: { 200: { description: 'The URL.', json: signedUpload(server) } },
  errors: [
    'InvalidRequest',
    'InvalidKey',
    'InvalidMimeType',
    'NoSuchBucket',
    'AccessDenied',
    'KeyAlreadyExists',
  ],
})

export const uploadSigned: Describe = (server) => ({
  id: 'uploadSigned',
  tag: 'Signed URLs',
  summary: 'Uploads to a signed URL',
  access: 'signed',
  headers: UPLOAD_HEADERS,
  body: uploadBody,
  answers: uploadAnswers(server, signedUploadShape(server), true),
  errors: [...UPLOAD_ERRORS, 'KeyAlreadyExists'],
})

export const revokeSigned: Describe = () => ({
  id: 'revokeSigned',
  tag: 'Signed URLs',
  summary: 'Revokes signed URLs',
  description:
    'By the owner of the object, or of its bucket, those of the object; by whoever has signed it, one, or all of his; by the ' +
    'service any. Those to upload, too. Whoever sends `paths` signs many downloads of a bucket of that name.',
  access: 'token',
  body: { json: revokeSchema },
  answers: {
    200: {
      description: 'No server serves them any more after a second.',
      json: z.strictObject({
        message: z.string(),
        id: linkId.optional(),
        before: time.describe('Those that were signed until then.'),
      }),
    },
  },
  errors: [
    'InvalidParameter',
    'InvalidJWT',
    'ExpiredToken',
    'NoSuchBucket',
    'NoSuchKey',
    'AccessDenied',
    'RoleNotAllowed',
    'TooManyRevocations',
  ],
})

export const downloadSigned: Describe = (server) =>
  downloadOf(server, {
    description: 'Of a signed folder also by the cookie that was set when it was signed.',
    id: 'downloadSignedObject',
    headId: 'headSignedObject',
    tag: 'Signed URLs',
    summary: 'Downloads from a signed URL',
    access: 'signed',
  })

export const downloadOfFolder: Describe = (server) => {
  const operation = downloadOf(server, {
    id: 'downloadOfSignedFolder',
    headId: 'headOfSignedFolder',
    tag: 'Signed URLs',
    summary: 'Downloads what is below a signed folder',
    description: 'With the token in the path, so that relative addresses of what is in the folder lead on.',
    access: 'signedInPath',
  })
  // It is of no version, and works any number of times.
  const possible = (errors: ErrorCode[] = []) =>
    errors.filter((code) => code !== 'NoSuchVersion' && code !== 'LinkExhausted')
  return {
    ...operation,
    path: { token: 'The token of a signed folder.' },
    errors: possible(operation.errors),
    ...(operation.head && { head: { ...operation.head, errors: possible(operation.head.errors) } }),
  }
}

export const signObjects: Describe = (server) => ({
  id: 'signObjects',
  tag: 'Signed URLs',
  summary: 'Signs many downloads',
  access: 'token',
  query: inQuery,
  body: { json: signManySchema },
  answers: { 200: { description: 'In the order of `paths`.', json: z.array(signedObjects(server)) } },
  errors: ['InvalidParameter'],
})

export const signObject: Describe = (server) => ({
  id: 'signObject',
  tag: 'Signed URLs',
  summary: 'Signs a download',
  access: 'token',
  query: inQuery,
  body: { json: signSchema },
  answers: { 200: { description: 'The URL.', json: signedObject(server) } },
  errors: ['InvalidParameter', 'NoSuchBucket', 'NoSuchKey', 'NoSuchVersion'],
})
