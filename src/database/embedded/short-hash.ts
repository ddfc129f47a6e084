import { createHash } from 'node:crypto'

/** Enough of a hash to tell folders apart in a name. */
export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}
