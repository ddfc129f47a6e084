import { StorageError } from '../../model/errors.ts'
import type { S3Request } from './request.ts'

/**
 * How a list writes keys: as they are, or percent-encoded for clients whose XML cannot hold all of them.
 *
 * @throws InvalidParameter for an encoding that S3 does not know
 */
export function keyWriter({ query }: S3Request): (text: string) => string {
  const type = query.get('encoding-type')
  if (type === undefined || type === '') return (text) => text
  if (type !== 'url') {
    throw new StorageError('InvalidParameter', { message: 'encoding-type must be url' })
  }
  return (text) => text.split('/').map(encodeURIComponent).join('/')
}
