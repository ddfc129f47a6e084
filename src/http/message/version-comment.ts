import { StorageError } from '../../model/errors.ts'
import { textOfHeader } from './upload-headers.ts'

/** In characters, as the column has it (drizzle/0042_object_versions.sql). */
const MAX_COMMENT = 1000

/** What the header `x-version-comment` says of a version. @throws InvalidParameter */
export function commentSent(header: string | undefined): string | undefined {
  if (header === undefined || header === '') return undefined
  const comment = textOfHeader(Buffer.from(header, 'latin1'))
  if (comment.length <= MAX_COMMENT) return comment
  const message = `x-version-comment may have at most ${MAX_COMMENT} characters`
  throw new StorageError('InvalidParameter', { message })
}
