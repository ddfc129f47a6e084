import { isUtf8 } from 'node:buffer'
import type { UserMetadata } from '../../database/schema.ts'
import { JsonTooComplex, parseJson } from '../../lib/bounded-json.ts'
import { StorageError } from '../../model/errors.ts'

/**
 * User metadata as `x-metadata` has it: base64 of a JSON object; anything else is ignored (contract §3.3). It is UTF-8, or
 * else Latin-1: `btoa`, by which browsers make it, knows no other letters.
 *
 * @throws InvalidRequest when it is nested too deeply or has too many values
 */
export function metadataFromHeader(header: string | undefined): UserMetadata | undefined {
  if (header === undefined) return undefined
  const bytes = Buffer.from(header, 'base64')
  return metadataFromJson(bytes.toString(isUtf8(bytes) ? 'utf8' : 'latin1'))
}

/** The same as a form has it: JSON. @throws InvalidRequest when it is nested too deeply or has too many values */
export function metadataFromJson(text: string | undefined): UserMetadata | undefined {
  const value = parsedOrNull(text ?? '')
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return value as UserMetadata // an object, and its keys are texts
}

function parsedOrNull(text: string): unknown {
  try {
    return parseJson(text)
  } catch (cause) {
    if (!(cause instanceof JsonTooComplex)) return null
    throw new StorageError('InvalidRequest', { message: `The metadata ${cause.message}`, cause })
  }
}
