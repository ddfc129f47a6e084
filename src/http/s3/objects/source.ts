import { StorageError } from '../../../model/errors.ts'
import type { WantedVersion } from '../../../model/version-id.ts'
import { nameOfKey } from '../../../storage/object/folder-marker.ts'
import { parseVersionId } from '../version-ids.ts'

export interface Source {
  bucket: string
  name: string
  /** Undefined for what is there now. */
  version?: WantedVersion | undefined
}

/**
 * What `x-amz-copy-source` names: a bucket and a key, perhaps with a slash before them, percent-encoded; a plus is one. And
 * perhaps a version of it, behind `?versionId=`.
 *
 * @throws InvalidParameter
 */
export function parseCopySource(header: string): Source {
  const [, path = '', version] = /^([^?]*)(?:\?versionId=(.*))?$/s.exec(header) ?? []
  const decoded = decode(path)
  const [, bucket = '', key = ''] = /^\/?([^/]+)\/(.+)$/s.exec(decoded) ?? []
  if (key === '') throw invalid('x-amz-copy-source must be as /bucket/key')
  return {
    bucket,
    name: nameOfKey(key),
    version: version === undefined ? undefined : parseVersionId(version),
  }
}

/**
 * The same of `x-amz-rename-source`, in the bucket that the request is about: `/bucket/key`, `bucket/key`, or the key alone.
 *
 * @throws InvalidParameter
 */
export function parseRenameSource(header: string, bucket: string): Source {
  const decoded = decode(header)
  const slashed = decoded.startsWith('/') ? decoded : `/${decoded}`
  const isWhole = slashed.startsWith(`/${bucket}/`)
  if (!isWhole && slashed === decoded) throw invalid('An object is renamed within its bucket')
  const key = isWhole ? slashed.slice(bucket.length + 2) : decoded
  if (key === '') throw invalid('x-amz-rename-source names no key')
  return { bucket, name: nameOfKey(key) }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new StorageError('InvalidParameter', {
      message: 'The percent-encoding of the source is malformed',
      cause,
    })
  }
}

function invalid(message: string): StorageError {
  return new StorageError('InvalidParameter', { message })
}
