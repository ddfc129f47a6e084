import { z } from 'zod'
import type { ObjectChanges } from '../../database/queries/change-object.ts'
import { areStorable } from '../../lib/storable-text.ts'
import { StorageError } from '../../model/errors.ts'
import type { UserMetadata } from '../../model/metadata.ts'
import { ASSET_TYPES } from '../../model/object-attributes.ts'
import { parseAccessLevel, parseFileName } from '../../storage/object/attributes.ts'
import { MAX_AUTO_DELETE_DAYS } from '../../storage/object/auto-delete.ts'
import { parseContentType } from '../../storage/object/content-type.ts'
import { checkWords } from '../../storage/object/tags.ts'
import { MAX_FIELD_BYTES } from '../message/form-fields.ts'
import { fields, flag, integer, optional } from '../message/json-fields.ts'
import { cacheControlOf } from '../message/upload-headers.ts'

/** Of a body that changes an object: its metadata, and room for the rest. */
export const MAX_CHANGE_BYTES = MAX_FIELD_BYTES + 64 * 1024

const AUTO_DELETE_DAYS = `must be a whole number from 1 to ${MAX_AUTO_DELETE_DAYS}, or null`

const metadata = z.record(z.string(), z.unknown(), 'must be an object')

const changeable = {
  tags: optional(z.array(z.string(), 'must be an array of texts')).describe(
    'In the place of those that it has.',
  ),
  metadata: metadata.nullish().describe("The user's, in the place of what it has; null: none."),
  metadata_merge: optional(metadata).describe('Laid over it, name by name; null takes a name away.'),
  file_name: z.string('must be a text, or null').nullish().describe('Null: the last part of its path.'),
  filename: z.string('must be a text, or null').nullish().describe('The same.'),
  access_level: optional(z.string('must be a text')).describe('`private` or `shared`.'),
  asset_type: z
    .enum(ASSET_TYPES, `must be one of ${ASSET_TYPES.join(', ')}, or null`)
    .nullish()
    .describe('Null: by its content type.'),
  enable_indexing: optional(flag()),
  content_type: optional(z.string('must be a text')).describe('Which its bucket has to take.'),
  cache_control: optional(z.string('must be a text')).describe('Seconds, or the whole value.'),
  auto_delete_after_days: integer(
    z.int(AUTO_DELETE_DAYS).min(1, AUTO_DELETE_DAYS).max(MAX_AUTO_DELETE_DAYS, AUTO_DELETE_DAYS).optional(),
  )
    .nullish()
    .describe('It goes by itself so many days after its bytes were written; null: not at all.'),
}

const NAMES = Object.keys(changeable) as (keyof typeof changeable)[]

/** What PATCH changes of an object (docs/attributes.md): at least one of these. */
export const changeSchema = fields(changeable)
  .refine(
    (body) => NAMES.some((name) => body[name] !== undefined),
    `must name at least one of ${NAMES.join(', ')}`,
  )
  .refine(
    (body) => body.metadata === undefined || body.metadata_merge === undefined,
    'must have metadata or metadata_merge, and not both',
  )

/** @throws InvalidRequest, InvalidTags, InvalidMimeType, InvalidHeaderChar, ObjectAclsDisabled */
export function changesIn(body: z.infer<typeof changeSchema>): ObjectChanges {
  const fileName = body.file_name === undefined ? body.filename : body.file_name
  const contentType = parseContentType(body.content_type)
  const cacheControl = cacheControlOf(body.cache_control)
  return {
    ...(body.tags !== undefined && { tags: checkWords(body.tags) }),
    ...(body.metadata !== undefined && { user_metadata: body.metadata && storable(body.metadata) }),
    ...(body.metadata_merge !== undefined && { merged_metadata: storable(body.metadata_merge) }),
    ...(fileName !== undefined && { file_name: fileName === null ? null : parseFileName(fileName) }),
    ...(body.access_level !== undefined && { access_level: parseAccessLevel(body.access_level) }),
    ...(body.asset_type !== undefined && { asset_type: body.asset_type }),
    ...(body.enable_indexing !== undefined && { enable_indexing: body.enable_indexing }),
    ...(body.auto_delete_after_days !== undefined && { auto_delete_after_days: body.auto_delete_after_days }),
    ...(contentType !== undefined && { mimetype: contentType }),
    ...(cacheControl !== undefined && { cacheControl }),
  }
}

function storable(metadata: UserMetadata): UserMetadata {
  if (areStorable(metadata)) return metadata
  throw new StorageError('InvalidRequest', { message: 'body/metadata has a character that cannot be stored' })
}
