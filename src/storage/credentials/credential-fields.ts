import { z } from 'zod'
import { areStorable, isStorable } from '../../lib/storable-text.ts'

// What an access key may be told to stand for, wherever it is made: in a request, or by the command.

/** In characters. */
const MAX_SUBJECT = 1000
const MAX_DESCRIPTION = 500

/** PostgreSQL is told them with each request. In bytes of JSON. */
const MAX_CLAIMS_BYTES = 8192

/** What has a field of its own here, or would be a promise that nobody keeps. */
const NO_CLAIMS = ['role', 'sub', 'exp', 'nbf']

/** The unit separator divides what PostgreSQL is told of a caller (decision 0040). */
const text = (most: number) =>
  z
    .string('must be a string')
    .max(most, `must have at most ${most} characters`)
    .refine(
      (value) => isStorable(value) && !value.includes('\x1f'),
      'must not hold NUL, U+001F or half a character',
    )

/** @param roles those that a token may name */
export function credentialFields(roles: string[]) {
  return {
    role: z.enum(roles, `must be one of ${roles.join(', ')}; STORAGE_JWT_ROLES adds to them`),
    subject: text(MAX_SUBJECT).min(1, 'must not be empty'),
    claims: z
      .record(z.string(), z.unknown(), 'must be an object')
      .refine(
        (claims) => !NO_CLAIMS.some((name) => Object.hasOwn(claims, name)),
        `must not hold ${NO_CLAIMS.join(', ')}: they are fields here, or have no meaning`,
      )
      .refine(
        (claims) => Buffer.byteLength(JSON.stringify(claims)) <= MAX_CLAIMS_BYTES,
        `must have at most ${MAX_CLAIMS_BYTES} bytes as JSON`,
      )
      .refine(areStorable, 'must not hold NUL or half a character'),
    description: text(MAX_DESCRIPTION),
    expires_at: z.iso
      .datetime({ offset: true, error: 'must be a time such as 2030-01-31T12:00:00Z' })
      .transform((iso) => new Date(iso))
      .refine((date) => date.getTime() > Date.now(), 'must be in the future'),
  }
}
