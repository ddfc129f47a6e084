import type { Caller } from '../../../model/caller.ts'
import { hasCode } from '../../../model/errors.ts'
import type { WriteCondition } from '../../../model/write-condition.ts'
import { type ConditionalHeaders, writeCondition } from '../../message/conditionals.ts'
import type { S3Request } from '../request.ts'

/** The conditions of a request, by the beginning of their headers' names (wire §14). */
type Prefix = '' | 'x-amz-copy-source-' | 'x-amz-rename-source-'

export function conditionsOf(request: S3Request, prefix: Prefix = ''): ConditionalHeaders {
  return {
    ifMatch: quoted(request.header(`${prefix}if-match`)),
    ifNoneMatch: quoted(request.header(`${prefix}if-none-match`)),
    ifModifiedSince: request.header(`${prefix}if-modified-since`),
    ifUnmodifiedSince: request.header(`${prefix}if-unmodified-since`),
  }
}

/** What must hold of the object that is there already. @throws InvalidRequest */
export function writeConditionOf(request: S3Request): WriteCondition | undefined {
  const { ifMatch, ifNoneMatch, ifUnmodifiedSince } = conditionsOf(request)
  return writeCondition({
    'if-match': ifMatch,
    'if-none-match': ifNoneMatch,
    'if-unmodified-since': ifUnmodifiedSince,
  })
}

/** S3's clients may leave the quotes of an ETag out. */
function quoted(tags: string | undefined): string | undefined {
  if (tags === undefined || tags.includes('"') || tags.trim() === '*') return tags
  return tags
    .split(',')
    .map((tag) => tag.trim())
    .filter((tag) => tag !== '')
    .map((tag) => `"${tag}"`)
    .join(', ')
}

/**
 * Writes under a condition. Where nothing is, an `If-Match` is not false: there is no such key (wire §14).
 *
 * @throws NoSuchKey, and what `write` throws
 */
export async function underCondition<T>(
  { services, bucket, name }: S3Request,
  caller: Caller,
  condition: WriteCondition | undefined,
  write: () => Promise<T>,
): Promise<T> {
  try {
    return await write()
  } catch (error) {
    const mayBeAbsent = condition?.ifMatch !== undefined && hasCode(error, 'PreconditionFailed')
    if (mayBeAbsent) await services.files.find(caller, { access: 'policy', bucket, name })
    throw error
  }
}
