import type { SecretSeal } from '../credentials/secret-seal.ts'

/*
 * Where a page has ended that looked at as much as one may, which can be at what the caller may not see: so it is sealed. Nobody
 * reads a name in it.
 */

/** In characters: of a name not even its length is told. */
const PADDED_TO = 256

/** @param purpose what it opens for, and nothing else; no access key is called so */
export function sealCursor(seal: SecretSeal, purpose: string, cursor: string): string {
  return seal.seal(purpose, cursor.padEnd(Math.ceil(cursor.length / PADDED_TO) * PADDED_TO))
}

/** @returns null for anything that `sealCursor` has not made, or not with these secrets */
export function openCursor(seal: SecretSeal, purpose: string, text: string): string | null {
  return seal.open(purpose, text)?.trimEnd() ?? null
}
