import { StorageError } from '../../model/errors.ts'

/** In characters. Proxies keep all headers of an answer in one buffer, which nginx gives 4 KiB, and else say 502. */
const MAX_LENGTH = 1000

/** A text of a form or of JSON that will be sent back as a header. @throws InvalidHeaderChar */
export function headerValue(text: string): string {
  if (!/^[\x20-\x7e]*$/.test(text)) throw new StorageError('InvalidHeaderChar')
  return ofLength(text)
}

/** The same of a header, whose characters Node has looked at. @throws InvalidHeaderChar */
export function headerSent(header: string | undefined): string | undefined {
  return header === undefined ? undefined : ofLength(header)
}

function ofLength(text: string): string {
  if (text.length <= MAX_LENGTH) return text
  const message = `A value is sent back as a header, and may have at most ${MAX_LENGTH} characters`
  throw new StorageError('InvalidHeaderChar', { message })
}
