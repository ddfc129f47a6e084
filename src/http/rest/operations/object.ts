import { z } from 'zod'
import type { ErrorCode } from '../../../model/errors.ts'
import { fields, flag, listOfObjects, optional } from '../../message/json-fields.ts'
import { linkQuery } from '../../message/link-options.ts'
import { versionQuery } from '../../message/wanted-version.ts'
import type { Describe, Described, Operation } from '../../openapi/operation.ts'
import {
  anyObject,
  attributeShape,
  autoDeleteShape,
  autoDeletionShape,
  message,
  shapeOf,
  time,
  uuid,
  versionShape,
} from '../../openapi/shapes.ts'
import { changeSchema } from '../change-fields.ts'
import { downloadOf, headOf, UPLOAD_ERRORS, UPLOAD_HEADERS, uploadAnswers, uploadBody } from './transfers.ts'

const key = z.string('must be a string')

const move = {
  bucketId: key,
  sourceKey: key,
  destinationKey: key,
  destinationBucket: key.nullish().describe('The same bucket without it.'),
}

export const moveSchema = fields({
  ...move,
  sourceVersionId: optional(key).describe(
    'This one leaves the name, and all that it had: no marker says that it was there.',
  ),
})

export const copySchema = fields({
  ...move,
  sourceVersionId: optional(key).describe('Another version than what is there now.'),
  copyMetadata: optional(flag()).describe(
    "`false`: `metadata` and `x-metadata` take the place of the source's.",
  ),
  metadata: fields({
    cacheControl: z.string().nullish(),
    mimetype: z.string().nullish(),
    contentEncoding: z.string().nullish(),
  }).nullish(),
})

const PERMANENT =
  '`true`: for good, with all versions of the name. `false`: into the trash, or as a version, also where the bucket has no trash. ' +
  'Without it as the bucket says; nothing under STORAGE_COMPAT=supabase.'

const versionEntry = fields({ path: key, versionId: key })

/** The entries are exact names, whatever the field is called, and may be more than 1000 (wire §3.8). */
export const deleteSchema = fields({
  prefixes: listOfObjects(
    10_000,
    z.union([z.string(), versionEntry], 'must be a name, or have path and versionId'),
  ).describe('Exact names, or one version of a name, which goes for good.'),
  permanent: optional(flag()).describe(PERMANENT),
})

/** Of DELETE. */
const deleteQuery = versionQuery.pick({ versionId: true })
/** The same of our own shape. */
export const ownDeleteQuery = deleteQuery.extend({
  permanent: z.enum(['true', 'false'], 'must be true or false').optional().describe(PERMANENT),
})

/** As `ownFields` makes them (wire §3.3). */
export const ownShape = {
  id: uuid,
  bucket: z.string(),
  path: z.string(),
  size: z.int().nullable(),
  content_type: z.string(),
  checksum: z.string().nullable().describe('SHA-256, in hexadecimal digits.'),
  owner_id: z.string().nullable(),
  metadata: anyObject.nullable().describe("The user's."),
  created_at: time,
  updated_at: time,
}

/** As `rowJson` makes it (wire §3.8). */
const rowShape = {
  name: z.string(),
  bucket_id: z.string(),
  owner: z.string(),
  owner_id: z.string(),
  version: z.string(),
  id: uuid,
  created_at: time.nullable(),
  updated_at: time.nullable(),
  last_accessed_at: time.nullable(),
  metadata: anyObject.nullable().describe('What the server knows of the object.'),
  user_metadata: anyObject.nullable(),
}

const stored = { Key: z.string().describe('`<bucket>/<name>`') }
export const uploaded = shapeOf('UploadedObject', { Id: uuid, ...stored }, ownShape)
export const addedVersion = shapeOf(
  'AddedVersion',
  { Id: uuid, ...stored, version_id: z.string().nullable() },
  ownShape,
)
/** Of a signed upload, whose client learns no more. */
const signedUploaded = shapeOf('SignedUploadedObject', stored, ownShape)
const copied = shapeOf('CopiedObject', { Id: uuid, ...stored, ...rowShape, ...versionShape }, ownShape)
const deleted = z
  .strictObject({
    ...rowShape,
    is_delete_marker: z
      .boolean()
      .optional()
      .describe('Where versions are kept: whether `version` is a marker.'),
  })
  .meta({ id: 'DeletedObject' })

/** As `infoJson` makes it (wire §3.7). */
const info = shapeOf(
  'ObjectInfo',
  {
    id: uuid,
    name: z.string(),
    version: z.string().nullable(),
    bucket_id: z.string(),
    size: z.int().nullable(),
    content_type: z.string().nullable(),
    cache_control: z.string().nullable(),
    etag: z.string().nullable(),
    metadata: anyObject.nullable().describe("The user's."),
    last_modified: time,
    created_at: time,
    content_encoding: z.string().nullable(),
    ...versionShape,
    download_url: z.string().nullable().optional().describe('If asked for; null of what one may not sign.'),
    download_url_expires_at: time.nullable().optional(),
  },
  { checksum: z.string().nullable(), ...attributeShape, ...autoDeleteShape },
)

export function signedUploadShape(server: Described): z.ZodType {
  return signedUploaded(server)
}

function infoOf(
  server: Described,
  operation: Pick<Operation, 'id' | 'access'> & { headId: string },
): Operation {
  const { headId, ...rest } = operation
  return {
    ...rest,
    tag: 'Objects',
    summary: 'Tells of an object',
    query: versionQuery.extend(linkQuery.shape),
    answers: { 200: { description: 'What is known of it.', json: info(server) } },
    errors: ['InvalidRequest', 'InvalidParameter', 'NoSuchBucket', 'NoSuchKey', 'NoSuchVersion'],
    head: headOf(headId),
  }
}

export const downloadPublic: Describe = (server) =>
  downloadOf(server, {
    id: 'downloadPublicObject',
    headId: 'headPublicObject',
    tag: 'Objects',
    summary: 'Downloads from a public bucket',
    access: 'anybody',
  })

export const downloadAuthenticated: Describe = (server) =>
  downloadOf(server, {
    id: 'downloadAuthenticatedObject',
    headId: 'headAuthenticatedObject',
    tag: 'Objects',
    summary: 'Downloads what the policies show',
    access: 'token',
  })

export const downloadObject: Describe = (server) =>
  downloadOf(server, {
    id: 'downloadObject',
    headId: 'headObject',
    tag: 'Objects',
    summary: 'Downloads',
    description:
      'From a public bucket, what the policies show to a token, or what `?token=` of a signed URL is for. Without any of them it ' +
      'is 404.',
    access: 'optionalOrSigned',
  })

export const infoPublic: Describe = (server) =>
  infoOf(server, { id: 'publicObjectInfo', headId: 'headPublicObjectInfo', access: 'anybody' })

export const infoAuthenticated: Describe = (server) =>
  infoOf(server, { id: 'authenticatedObjectInfo', headId: 'headAuthenticatedObjectInfo', access: 'token' })

export const infoOfObject: Describe = (server) =>
  infoOf(server, { id: 'objectInfo', headId: 'headObjectInfo', access: 'optional' })

export const uploadObject: Describe = (server) => ({
  id: 'uploadObject',
  tag: 'Objects',
  summary: 'Uploads',
  description: 'Replaces with `x-upsert: true` alone.',
  access: 'token',
  headers: ['x-upsert', ...UPLOAD_HEADERS],
  body: uploadBody,
  answers: uploadAnswers(server, uploaded(server), false),
  errors: [...UPLOAD_ERRORS, 'InvalidKey', 'AccessDenied', 'KeyAlreadyExists'],
})

export const updateObject: Describe = (server) => ({
  id: 'updateObject',
  tag: 'Objects',
  summary: 'Uploads, or replaces',
  access: 'token',
  headers: UPLOAD_HEADERS,
  body: uploadBody,
  answers: uploadAnswers(server, uploaded(server), true),
  errors: [...UPLOAD_ERRORS, 'InvalidKey', 'AccessDenied'],
})

/** What a change of an object may be refused for. */
export const CHANGE_ERRORS: ErrorCode[] = [
  'InvalidRequest',
  'InvalidTags',
  'InvalidMimeType',
  'InvalidHeaderChar',
  'ObjectAclsDisabled',
  'NoSuchKey',
  'KeptByRule',
  'PreconditionFailed',
]

export const changeObject: Describe = () => ({
  id: 'changeObject',
  tag: 'Objects',
  summary: 'Changes what an object says of itself',
  description: 'Its bytes and its version stay.',
  access: 'token',
  headers: ['if-match', 'if-unmodified-since'],
  body: { json: changeSchema },
  answers: {
    200: {
      description: 'It is changed.',
      json: z
        .strictObject({ ...ownShape, ...attributeShape, ...autoDeletionShape })
        .meta({ id: 'ChangedObject' }),
    },
  },
  errors: [...CHANGE_ERRORS, 'InvalidKey', 'NoSuchBucket'],
})

export const moveObject: Describe = () => ({
  id: 'moveObject',
  tag: 'Objects',
  summary: 'Moves, or renames',
  description:
    'Never replaces. The bytes stay where they are; where versions are kept, the object stays as a version, under a delete marker.',
  access: 'token',
  headers: ['if-match', 'if-none-match', 'if-unmodified-since'],
  body: { json: moveSchema },
  answers: { 200: { description: 'It is moved.', json: message } },
  errors: [
    'InvalidKey',
    'NoSuchKey',
    'NoSuchBucket',
    'KeptByRule',
    'PreconditionFailed',
    'NoSuchVersion',
    'ResourceAlreadyExists',
    'ObjectLocked',
  ],
})

export const copyObject: Describe = (server) => ({
  id: 'copyObject',
  tag: 'Objects',
  summary: 'Copies',
  access: 'token',
  headers: ['x-upsert', 'x-metadata', 'if-match', 'if-none-match', 'if-unmodified-since'],
  body: { json: copySchema },
  answers: { 200: { description: 'It is copied.', json: copied(server) } },
  errors: [
    'InvalidKey',
    'InvalidMimeType',
    'InvalidHeaderChar',
    'EntityTooLarge',
    'NoSuchKey',
    'NoSuchVersion',
    'NoSuchBucket',
    'AccessDenied',
    'PreconditionFailed',
    'KeyAlreadyExists',
  ],
})

export const deleteObjects: Describe = () => ({
  id: 'deleteObjects',
  tag: 'Objects',
  summary: 'Deletes many',
  description: 'What is absent, or denied, is left out of the answer.',
  access: 'token',
  body: { json: deleteSchema },
  answers: { 200: { description: 'Those that are deleted.', json: z.array(deleted) } },
})

/** Of a deletion that was told whether it is for good. */
export const deletion = z
  .strictObject({ success: z.literal(true), message: z.string(), permanent: z.boolean() })
  .meta({ id: 'Deletion' })

export const deleteObject: Describe = ({ supabaseCompat }) => ({
  id: 'deleteObject',
  tag: 'Objects',
  summary: 'Deletes one',
  access: 'token',
  query: supabaseCompat ? deleteQuery : ownDeleteQuery,
  headers: ['if-match', 'if-unmodified-since'],
  answers: supabaseCompat
    ? { 200: { description: 'It is deleted.', json: message } }
    : {
        200: {
          description: 'It is deleted, as `permanent` has said.',
          json: deletion,
        },
        204: { description: 'It is deleted.' },
      },
  errors: [
    'InvalidRequest',
    ...(supabaseCompat ? [] : (['InvalidParameter'] as const)),
    'NoSuchKey',
    'NoSuchVersion',
    'KeptByRule',
    'PreconditionFailed',
  ],
})
