import { StorageError } from '../../model/errors.ts'
import type { RequestContext } from '../surface.ts'
import { parseQuery } from './query.ts'
import { isPresigned } from './signature/query.ts'

/**
 * Who presigns a URL moves headers into its query, so that its user need not send them: all that begin with `x-amz-`. Those
 * of checksums say nothing: aws-sdk computes them over the body that it has while it signs, which is none. The signature's
 * own parameters begin with capitals.
 */
const HOISTED = /^x-amz-(?!checksum-|sdk-checksum-)/

/**
 * From here on the request of a presigned URL has the headers that stand in its query; what has come as a header stays. To
 * be called once the signature has held, which is over both.
 *
 * @throws InvalidHeaderChar for what no header can hold
 */
export function takeHoistedHeaders({ incoming: { headers }, target }: RequestContext): void {
  if (!isPresigned(target.query)) return
  for (const [name, value] of parseQuery(target.query)) {
    if (!HOISTED.test(name)) continue
    if (/(?!\t)\p{Cc}/u.test(value)) throw new StorageError('InvalidHeaderChar')
    headers[name] ??= Buffer.from(value).toString('latin1') // as Node gives headers
  }
}
