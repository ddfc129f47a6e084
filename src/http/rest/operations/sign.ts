import { z } from 'zod'
import { fields, ignored, integer, nameList, optional } from '../../message/json-fields.ts'
import type { Describe } from '../../openapi/operation.ts'
import { numeric, shapeOf, time } from '../../openapi/shapes.ts'
import { signedUploadShape } from './object.ts'
import { downloadOf, UPLOAD_ERRORS, UPLOAD_HEADERS, uploadAnswers, uploadBody } from './transfers.ts'

const seconds = integer(
  z.int('must be a whole number of seconds').min(1, 'must be at least 1 second'),
).describe('Seconds.')
/** The SDKs send what they put into the link's query along, and how to transform an image. */
const signed = { expiresIn: seconds, download: ignored, transform: ignored, cacheNonce: ignored }
export const signSchema = fields({
  ...signed,
  versionId: optional(z.string('must be a string')).describe('Of one version, whatever is there by then.'),
})
/** Wire §3.11. */
export const signManySchema = fields({ ...signed, paths: nameList(1000) })

/** Stands in for the body's field. */
const inQuery = z.object({
  expires_in: z.string().optional().meta(numeric(1)).describe('Stands in for `expiresIn`.'),
})

const relative = z.string().describe('Below `/storage/v1`.')
const signedObject = shapeOf(
  'SignedUrl',
  { signedURL: relative },
  { url: z.string().describe('Absolute.'), expires_at: time },
)
const signedObjects = shapeOf(
  'SignedUrlOfMany',
  {
    path: z.string(),
    error: z.string().nullable().describe('A sentence for what is not seen.'),
    signedURL: relative.nullable(),
  },
  { url: z.string().optional(), expires_at: time.optional() },
)
const signedUpload = shapeOf(
  'SignedUploadUrl',
  { url: relative, token: z.string() },
  { signed_url: z.string().describe('Absolute.'), expires_at: time },
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

export const downloadSigned: Describe = (server) =>
  downloadOf(server, {
    id: 'downloadSignedObject',
    headId: 'headSignedObject',
    tag: 'Signed URLs',
    summary: 'Downloads from a signed URL',
    access: 'signed',
  })

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
