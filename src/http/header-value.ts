import { StorageError } from '../errors.ts'

/** A text of a form or of JSON that will be sent back as a header. @throws InvalidHeaderChar */
export function headerValue(text: string): string {
  if (!/^[\x20-\x7e]*$/.test(text)) throw new StorageError('InvalidHeaderChar')
  return text
}
