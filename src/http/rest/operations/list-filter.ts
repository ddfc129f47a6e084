import { z } from 'zod'
import type { ListFilter } from '../../../database/queries/filtered-list.ts'
import { areStorable, isPlainText } from '../../../lib/storable-text.ts'
import { StorageError } from '../../../model/errors.ts'
import { ACCESS_LEVELS, ASSET_TYPES } from '../../../model/object-attributes.ts'
import { contentTypesOf } from '../../../storage/object/attributes.ts'
import { checkWords } from '../../../storage/object/tags.ts'
import { fields, integer, optional, textList } from '../../message/json-fields.ts'

const MAX_ID = 255
const MAX_SEARCH = 255
/** Of the metadata that is looked for, in characters of JSON. */
const MAX_METADATA = 16_384

/** Wire §1.5: of the others nothing is in a list. */
const STATUSES = ['available', 'uploading', 'failed', 'archived', 'deleted'] as const
const STORAGE_CLASSES = [
  'STANDARD',
  'REDUCED_REDUNDANCY',
  'STANDARD_IA',
  'ONEZONE_IA',
  'INTELLIGENT_TIERING',
  'GLACIER_IR',
  'GLACIER',
  'DEEP_ARCHIVE',
] as const

const id = z
  .string('must be a string')
  .min(1, 'must not be empty')
  .max(MAX_ID, 'is too long')
  .refine(isPlainText, 'must have no control characters')

const words = textList(z.array(z.string('must be a string'), 'must be a list of tags')).transform(
  (sent, context) => {
    try {
      return checkWords(sent)
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      context.addIssue({ code: 'custom', message: `is no list of tags: ${error.message}` })
      return z.NEVER
    }
  },
)

const contentType = z
  .string('must be a string')
  .max(255, 'must have at most 255 characters')
  .regex(/^[\w.+-]+\/(?:[\w.+-]+|\*)$/, 'must be a type such as image/png or image/*')

const size = integer(z.int('must be a whole number of bytes').min(0, 'must be at least 0'))

const time = z.iso
  .datetime({ offset: true, error: 'must be a time such as 2026-11-20T10:00:00Z' })
  .transform((text) => new Date(text))
  .refine((at) => !Number.isNaN(at.getTime()) && at.getUTCFullYear() > 0, 'must be a time of our era')

/** What a list shows of all that is there; all of them hold. */
export const filterSchema = fields({
  owner_id: optional(id).describe('Whose it is.'),
  user_id: optional(id).describe('The same as `owner_id`.'),
  organization_id: optional(id),
  status: optional(z.enum(STATUSES, `must be one of ${STATUSES.join(', ')}`)).describe(
    'What is there is `available`; what is `deleted` is at `GET /trash`.',
  ),
  access_level: optional(z.enum(ACCESS_LEVELS, `must be one of ${ACCESS_LEVELS.join(', ')}`)),
  content_type: optional(contentType).describe(
    'As it was sent, whatever parameters it has; `image/*` are all of them.',
  ),
  mime_type: optional(contentType).describe('The same as `content_type`.'),
  asset_type: optional(z.enum(ASSET_TYPES, `must be one of ${ASSET_TYPES.join(', ')}`)).describe(
    'What it says of itself, or is by its content type.',
  ),
  tags: optional(words).describe('All of these.'),
  any_tags: optional(words.refine((list) => list.length > 0, 'must name a tag')).describe('One of these.'),
  metadata: optional(
    z
      .record(z.string(), z.json(), 'must be an object')
      .refine(areStorable, 'must hold no text with a NUL in it')
      .refine((value) => JSON.stringify(value).length <= MAX_METADATA, 'is too long'),
  ).describe('What its user metadata contains.'),
  storage_class: optional(z.enum(STORAGE_CLASSES, `must be one of ${STORAGE_CLASSES.join(', ')}`)).describe(
    'All is `STANDARD` here.',
  ),
  created_after: optional(time).describe('Then or later.'),
  created_before: optional(time).describe('Earlier.'),
  min_size: optional(size).describe('In bytes.'),
  max_size: optional(size).describe('In bytes.'),
  search: optional(
    z
      .string('must be a string')
      .min(1, 'must not be empty')
      .max(MAX_SEARCH, 'is too long')
      .refine(isPlainText, 'must have no control characters'),
  ).describe('Is somewhere in the name, whatever its case.'),
})

/** As the storage knows it. @throws InvalidParameter for what says two things, and for what another route lists */
export function listFilter(sent: Partial<z.infer<typeof filterSchema>>): ListFilter {
  const { asset_type: assetType, status = 'available', storage_class: storageClass = 'STANDARD' } = sent
  if (status === 'deleted') {
    throw new StorageError('InvalidParameter', { message: 'What is deleted is listed by GET /trash' })
  }
  const type = either(sent, 'content_type', 'mime_type')
  return {
    ownerId: either(sent, 'owner_id', 'user_id'),
    organizationId: sent.organization_id,
    accessLevel: sent.access_level,
    contentTypes: type === undefined ? undefined : [type],
    assetType: assetType && contentTypesOf(assetType),
    tags: sent.tags?.length === 0 ? undefined : sent.tags,
    anyTags: sent.any_tags,
    metadata: sent.metadata && Object.keys(sent.metadata).length > 0 ? sent.metadata : undefined,
    createdAfter: sent.created_after,
    createdBefore: sent.created_before,
    minSize: sent.min_size,
    maxSize: sent.max_size,
    search: sent.search,
    isNothing: status !== 'available' || storageClass !== 'STANDARD',
  }
}

/** What either of two names for the same says. */
function either<Name extends string>(
  sent: { [name in Name]?: string | undefined },
  name: Name,
  synonym: Name,
): string | undefined {
  if (sent[name] !== undefined && sent[synonym] !== undefined && sent[name] !== sent[synonym]) {
    throw new StorageError('InvalidParameter', { message: `${name} and ${synonym} are the same` })
  }
  return sent[name] ?? sent[synonym]
}
