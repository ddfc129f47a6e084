import { isPlainText } from '../../lib/storable-text.ts'
import { StorageError } from '../../model/errors.ts'
import {
  type AccessLevel,
  ASSET_TYPES,
  type AssetType,
  type SentAttributes,
} from '../../model/object-attributes.ts'
import { parseAutoDelete } from './auto-delete.ts'
import { parseWords } from './tags.ts'

/** In characters. */
export const MAX_FILE_NAME = 255
const MAX_ID = 255

/** What a field says, by its name or another name for the same; undefined: nothing. */
export type FieldOf = (name: string) => string | undefined

/**
 * What an upload says of its object, in fields of a form, headers or TUS metadata (docs/attributes.md). What is not said is not
 * there, so that what is said later or elsewhere can be laid over it.
 *
 * @throws InvalidRequest, InvalidTags, ObjectAclsDisabled
 */
export function parseAttributes(field: FieldOf): SentAttributes {
  const said: SentAttributes = {
    fileName: parsed(field('file_name') ?? field('filename'), parseFileName),
    organizationId: parsed(field('organization_id'), (text) => parseId('organization_id', text)),
    ownerId: parsed(field('user_id') ?? field('owner_id'), (text) => parseId('user_id', text)),
    accessLevel: levelOf(field),
    assetType: parsed(field('asset_type'), parseAssetType),
    enableIndexing: parsed(field('enable_indexing'), (text) => parseBoolean('enable_indexing', text)),
    tags: parsed(field('tags'), parseWords),
    autoDeleteAfterDays: parseAutoDelete(field('auto_delete_after_days')),
  }
  return Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined))
}

function levelOf(field: FieldOf): AccessLevel | undefined {
  const isPublic = parsed(field('is_public'), (text) => parseBoolean('is_public', text))
  return parsed(field('access_level') ?? (isPublic ? 'public' : undefined), parseAccessLevel)
}

/** @throws InvalidRequest; ObjectAclsDisabled for what would let others read it, which no bucket has yet */
export function parseAccessLevel(text: string): AccessLevel {
  if (text === 'private' || text === 'shared') return text
  if (text === 'restricted' || text === 'public') throw new StorageError('ObjectAclsDisabled')
  throw invalid('access_level must be private, shared, restricted or public')
}

/** @throws InvalidRequest */
export function parseAssetType(text: string): AssetType {
  const type = ASSET_TYPES.find((known) => known === text)
  if (type) return type
  throw invalid(`asset_type must be one of ${ASSET_TYPES.join(', ')}`)
}

/** @throws InvalidRequest */
export function parseFileName(text: string): string {
  const name = text.trim()
  if (name !== '' && [...name].length <= MAX_FILE_NAME && isPlainText(name)) return name
  throw invalid(`file_name must have 1 to ${MAX_FILE_NAME} characters, and no control characters`)
}

function parseId(field: string, text: string): string {
  if (text !== '' && [...text].length <= MAX_ID && isPlainText(text)) return text
  throw invalid(`${field} must have 1 to ${MAX_ID} characters, and no control characters`)
}

function parseBoolean(field: string, text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  throw invalid(`${field} must be true or false`)
}

function parsed<T>(text: string | undefined, parse: (text: string) => T): T | undefined {
  return text === undefined ? undefined : parse(text)
}

function invalid(message: string): StorageError {
  return new StorageError('InvalidRequest', { message })
}

/** Those of `application/…` that are documents, besides those that begin with one of DOCUMENTS. */
const DOCUMENT_TYPES = new Set(['pdf', 'msword', 'rtf', 'json', 'xml', 'epub+zip', 'x-tex', 'yaml'])
const DOCUMENTS = ['vnd.openxmlformats-officedocument.', 'vnd.oasis.opendocument.', 'vnd.ms-']
const MAP_TYPES = new Set(['geo+json', 'gpx+xml', 'vnd.google-earth.kml+xml', 'vnd.google-earth.kmz'])

/** What an object is that does not say it. */
export function assetTypeOf(contentType: string): AssetType {
  const [, type = '', subtype = ''] = /^([^/;\s]+)\/([^/;\s]+)/.exec(contentType.toLowerCase()) ?? []
  if (type === 'image' || type === 'audio' || type === 'video') return type
  if (type === 'text') return 'document'
  if (type !== 'application') return 'other'
  if (MAP_TYPES.has(subtype)) return 'map'
  const isDocument = DOCUMENT_TYPES.has(subtype) || DOCUMENTS.some((start) => subtype.startsWith(start))
  return isDocument ? 'document' : 'other'
}

/** By which content types an object is this that does not say it, as `assetTypeOf` has it; what ends with a star begins so. */
export function contentTypesOf(type: AssetType): {
  type: AssetType
  isOther: boolean
  contentTypes: string[]
} {
  const of = {
    image: ['image/*'],
    audio: ['audio/*'],
    video: ['video/*'],
    map: [...MAP_TYPES].map((subtype) => `application/${subtype}`),
    document: [
      'text/*',
      ...[...DOCUMENT_TYPES].map((subtype) => `application/${subtype}`),
      ...DOCUMENTS.map((start) => `application/${start}*`),
    ],
  }
  const isOther = type === 'other'
  return { type, isOther, contentTypes: isOther ? Object.values(of).flat() : of[type] }
}
