import type { UserMetadata } from '../database/schema.ts'
import { StorageError } from '../errors.ts'

/** Levels of user metadata. Whoever reads it calls itself for each: PostgreSQL, the clients, JSON.stringify. */
const MAX_DEPTH = 100

/**
 * User metadata as `x-metadata` has it: base64 of a JSON object; anything else is ignored (contract §3.3).
 *
 * @throws InvalidRequest when it is nested too deeply
 */
export function metadataFromHeader(header: string | undefined): UserMetadata | undefined {
  return header === undefined ? undefined : metadataFromJson(Buffer.from(header, 'base64').toString())
}

/** The same as a form has it: JSON. @throws InvalidRequest when it is nested too deeply */
export function metadataFromJson(text: string | undefined): UserMetadata | undefined {
  const value = parsedOrNull(text ?? '')
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  if (!isShallow(value, MAX_DEPTH)) {
    throw new StorageError('InvalidRequest', { message: 'The metadata is nested too deeply' })
  }
  return value as UserMetadata // an object, and its keys are texts
}

function parsedOrNull(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function isShallow(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  return levels > 0 && Object.values(value).every((inner) => isShallow(inner, levels - 1))
}
