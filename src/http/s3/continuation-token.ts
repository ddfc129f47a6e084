import { isStorableText } from '../../storage/object/object-name.ts'
import { invalid } from './parameters.ts'

/*
 * Where a page ended, opaque to clients: base64url of the last entry. It is not signed: a made-up one only asks for another
 * page of what the caller may see anyway.
 */

/** Before the entry, so that what is another server's, or no token, is told from ours. */
const MARK = 'after:'

export function continuationToken(last: string): string {
  return Buffer.from(MARK + last).toString('base64url')
}

/** The last entry of the page before; undefined for the first page. @throws InvalidParameter when it is none of ours */
export function continuationIn(query: ReadonlyMap<string, string>): string | undefined {
  const token = query.get('continuation-token')
  if (token === undefined) return undefined
  const text = Buffer.from(token, 'base64url').toString()
  const last = text.slice(MARK.length)
  // Only the one spelling: the decoder passes over what is no base64url, and over bytes that are no UTF-8.
  const isOurs = text.startsWith(MARK) && isStorableText(last) && continuationToken(last) === token
  if (!isOurs) throw invalid('The continuation token provided is incorrect')
  return last
}
