import { UUID } from '../../lib/uuid.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { NULL_VERSION, type WantedVersion } from '../../model/version-id.ts'
import { DeleteMarker } from '../../storage/object/delete-marker.ts'
import { invalid } from './parameters.ts'

/** Which version an id means. @throws InvalidParameter for what no version can have */
export function parseVersionId(id: string): WantedVersion {
  if (id === NULL_VERSION) return { null: true }
  if (UUID.test(id)) return { id }
  throw invalid('Invalid version id specified')
}

/** The version that a request names; undefined for what is there now. @throws InvalidParameter */
export function versionIn(query: ReadonlyMap<string, string>): WantedVersion | undefined {
  const id = query.get('versionId')
  return id === undefined ? undefined : parseVersionId(id)
}

/** Tells which version an answer is about; nothing where the bucket keeps none. */
export function versionHeaders(
  versionId: string | null,
  header: 'x-amz-version-id' | 'x-amz-copy-source-version-id' = 'x-amz-version-id',
): Record<string, string> {
  return versionId === null ? {} : { [header]: versionId }
}

/** Tells of a marker: one that was made, that is gone, or that is there in place of an object. */
export function markerHeaders(versionId: string): Record<string, string> {
  return { 'x-amz-delete-marker': 'true', ...versionHeaders(versionId) }
}

/**
 * Reads what may have been deleted: that a marker says so is told beside the error.
 *
 * @throws MethodNotAllowed for a marker that was asked for itself, and what `read` throws
 */
export async function tellingOfMarkers<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (!(error instanceof StorageError) || !(error.cause instanceof DeleteMarker)) throw error
    const headers = markerHeaders(error.cause.versionId)
    if (hasCode(error, 'NoSuchKey')) throw new StorageError('NoSuchKey', { headers, cause: error })
    throw new StorageError('MethodNotAllowed', {
      message: 'The version is a delete marker, which can only be deleted',
      headers: { ...headers, Allow: 'DELETE' },
      cause: error,
    })
  }
}
