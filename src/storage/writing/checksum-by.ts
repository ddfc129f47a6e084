import type { Readable } from 'node:stream'
import { beginChecksum, type Checksum, type ChecksumAlgorithm } from '../../model/checksums.ts'
import { checksumOf, sha256ChecksumOf } from '../object/s3-metadata.ts'
import type { StoredObject } from '../object/stored-object.ts'

/**
 * The checksum of all bytes of an object, by this algorithm: the one that its row has, if it is that, or of its bytes.
 *
 * @param read opens them, if they are needed
 */
export async function checksumBy(
  algorithm: ChecksumAlgorithm,
  object: StoredObject,
  read: () => Promise<Readable>,
): Promise<Checksum> {
  for (const known of [checksumOf(object), sha256ChecksumOf(object)]) {
    if (known?.algorithm === algorithm && known.type === 'FULL_OBJECT') return known
  }
  const running = beginChecksum(algorithm)
  for await (const chunk of await read()) running.update(chunk)
  return { algorithm, type: 'FULL_OBJECT', value: running.digest().toString('base64') }
}
