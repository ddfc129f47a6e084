import { createHash } from 'node:crypto'
import type { BucketRow, BucketSettings } from '../../database/queries/buckets.ts'
import { printable } from '../../lib/printable.ts'
import { parseByteSize } from '../../lib/units.ts'
import { StorageError } from '../../model/errors.ts'
import type { Validators } from '../../model/write-condition.ts'
import { essence } from '../object/content-type.ts'
import { isEmptyFolderPlaceholder, type NameRules } from '../object/object-name.ts'

/**
 * Words of routes. Where one stands it is the route's, so that a bucket of that name could be made and not be used
 * (wire §2.2, decision 0031); the second half are those of routes to come.
 */
const ROUTE_WORDS = new Set(
  `public authenticated sign info upload list list-v2 move copy resumable
  bucket object health status version events webhooks realtime
  acl admin audit cdn console empty metrics quota quotas render restore s3 search share shares stats tags trash versions
  `
    .trim()
    .split(/\s+/),
)

/** HTTP clients resolve such a segment away, so that the bucket could never be named (RFC 3986 §5.2.4). */
const DOT_SEGMENT = /^\.\.?$/

/** Marks the backing buckets of Supabase's analytics tables (wire §2.2). */
const RESERVED_SUFFIX = '--table-s3'

/** Wire §2.2; of all white space only the space is in the set. */
const NAME = /^(?! )[\w !\-.*'()&$@=;:+,?]{1,100}(?<! )$/

/** Wire §2.2: `type/subtype`, perhaps with a charset, or anything printable that ends in a star. */
const MIME_PATTERN = /^(?:[a-z0-9.+-]+\/[a-z0-9.+-]+(?: *; *charset=[\w.:+-]+)?|[ -~]*\*)$/i

/** In characters: twice 127 for type and subtype (RFC 6838 §4.2), and the slash. Supabase allows 1000. */
const MAX_MIME_PATTERN = 255

/** Each upload is compared with all of them. */
const MAX_MIME_PATTERNS = 100

/** What is legal, and what is best: such a name needs no encoding anywhere, and is one for S3 as well. */
const NAME_RULE =
  "use 1 to 100 letters of a-z and A-Z, digits, spaces and _!-.*'()&$@=;:+,? without a space at the ends; " +
  'best are 3 to 63 of a-z, 0-9 and -'

/**
 * The name of a bucket to be made: one URL segment, never with a slash. Buckets that have another name already keep it.
 *
 * @param rules what Supabase's clients compare is its sentence; and it takes words of routes
 * @throws InvalidBucketName
 */
export function parseBucketName(text: string, rules: NameRules): string {
  const why = whyNoName(text, rules)
  if (why === undefined) return text
  const sentence = rules === 'default' ? `: ${why}` : ''
  throw new StorageError('InvalidBucketName', { message: `Bucket name invalid${sentence}` })
}

function whyNoName(text: string, rules: NameRules): string | undefined {
  if (!NAME.test(text)) return NAME_RULE
  if (DOT_SEGMENT.test(text) || text.endsWith(RESERVED_SUFFIX)) return 'it is reserved'
  if (rules === 'default' && ROUTE_WORDS.has(text)) return `${text} is a word of the server's own addresses`
  return undefined
}

/**
 * A bucket's own limit in bytes, or null when the global one shall do: null, an empty text, or 0.
 *
 * @param value bytes, or a size such as `"5MB"` (wire §2.2)
 * @param globalLimit in bytes
 * @throws EntityTooLarge when above the global limit
 * @throws InvalidRequest when it is no whole number of bytes
 */
export function parseFileSizeLimit(value: number | string | null, globalLimit: number): number | null {
  if (value === null || value === '') return null
  const bytes = typeof value === 'number' ? value : parseByteSize(value)
  // A fraction of a byte that rounds to 0 asks for a tiny limit; 0 would give it the largest.
  const isRoundedAway = typeof value === 'string' && bytes === 0 && /[1-9]/.test(value)
  if (bytes === null || !Number.isInteger(bytes) || bytes < 0 || isRoundedAway) {
    throw new StorageError('InvalidRequest', {
      message: 'file_size_limit must be a whole number of bytes or a size such as 5MB',
    })
  }
  if (bytes > globalLimit) throw new StorageError('EntityTooLarge')
  return bytes === 0 ? null : bytes
}

/** What identifies a bucket's settings as they are now, all of them. */
export function bucketValidators(row: BucketRow): Validators {
  const digest = createHash('sha256').update(JSON.stringify(row)).digest('base64url')
  return { etag: `"${digest}"`, lastModified: row.updatedAt ?? new Date(0) }
}

/** The largest object a bucket takes, in bytes. The global limit may have been lowered since. */
export function effectiveLimit(bucketLimit: number | null, globalLimit: number): number {
  return bucketLimit === null ? globalLimit : Math.min(bucketLimit, globalLimit)
}

/**
 * A bucket's `allowed_mime_types`, as sent but without empty texts; null when everything is allowed.
 *
 * @throws InvalidMimeType naming the first bad entry
 * @throws InvalidRequest when there are more than 100
 */
export function parseMimePatterns(value: string[] | null): string[] | null {
  const patterns = (value ?? []).filter((pattern) => pattern !== '')
  if (patterns.length > MAX_MIME_PATTERNS) {
    throw new StorageError('InvalidRequest', {
      message: `allowed_mime_types may have at most ${MAX_MIME_PATTERNS} entries`,
    })
  }
  for (const pattern of patterns) {
    if (pattern.length > MAX_MIME_PATTERN || !MIME_PATTERN.test(pattern)) {
      throw new StorageError('InvalidMimeType', {
        message: `mime type ${printable(pattern)} is not supported`,
      })
    }
  }
  return patterns.length === 0 ? null : patterns
}

/**
 * Whether a bucket takes this type. Parameters and case do not count. A star at the end stands for anything,
 * so `image/*` takes every image and `*` every type, as does a star on each side of the slash (wire §2.2).
 */
export function mimeTypeAllowed(contentType: string, patterns: string[] | null): boolean {
  if (patterns === null || patterns.length === 0) return true // a row made by plain SQL may hold []
  const type = essence(contentType)
  return patterns.some((pattern) => {
    const wanted = essence(pattern)
    if (wanted === '*/*') return true
    return wanted.endsWith('*') ? type.startsWith(wanted.slice(0, -1)) : type === wanted
  })
}

/**
 * Whether a bucket takes such an object (wire §2.2).
 *
 * @param object its type and its size are null as long as nobody knows them
 * @param globalLimit in bytes
 * @returns the largest length its bytes may have
 * @throws EntityTooLarge, InvalidMimeType
 */
export function checkFits(
  bucket: BucketSettings,
  name: string,
  object: { contentType: string | null; size: number | null },
  globalLimit: number,
): number {
  // The marker of an empty folder has no bytes, and any type (wire §3.1).
  const isPlaceholder = isEmptyFolderPlaceholder(name)
  const maxBytes = isPlaceholder ? 0 : effectiveLimit(bucket.fileSizeLimit, globalLimit)
  if (object.size !== null && object.size > maxBytes) throw new StorageError('EntityTooLarge')
  const { contentType } = object
  if (!isPlaceholder && contentType !== null && !mimeTypeAllowed(contentType, bucket.allowedMimeTypes)) {
    throw new StorageError('InvalidMimeType', { message: `mime type ${contentType} is not supported` })
  }
  return maxBytes
}
