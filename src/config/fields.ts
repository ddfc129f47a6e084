import { isIP } from 'node:net'
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { parseByteSize, parseDuration } from '../lib/units.ts'

// What the text of a setting may look like, and the value it becomes.

export const flag = z
  .string()
  .regex(/^(true|false|1|0)$/i, 'must be true or false')
  .transform((text) => /^(true|1)$/i.test(text))

export const integer = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d+$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .refine((n) => n >= min && n <= max, `must be a whole number from ${min} to ${max}`)

/** What a URL, or a list of ports, would have around it is not part of an address. */
export const host = z
  .string()
  .refine(
    (text) => isIP(text) !== 0 || /^[a-z\d_-]+(\.[a-z\d_-]+)*\.?$/i.test(text),
    'must be an address or a name without brackets, scheme or port, such as 127.0.0.1, ::1 or localhost',
  )

export const workers = z
  .string()
  .regex(/^(auto|[1-9]\d?)$/, 'must be auto or a whole number from 1 to 99')
  .transform((text) => (text === 'auto' ? availableParallelism() : Number(text)))

export const commaList = z.string().transform((text) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
)

/** A part of something, 0 to 1. */
export const share = z
  .string()
  .regex(/^(0(\.\d+)?|1(\.0+)?|\.\d+)$/, 'must be a number from 0 to 1')
  .transform(Number)

/** A path or a missing scheme would match no browser, and only be noticed there. */
export const origins = commaList.transform((list, context) => {
  for (const item of list) {
    if (item !== '*' && !/^[a-z][a-z\d+.-]*:\/\/[^/\s]+\/?$/i.test(item)) {
      context.addIssue({ code: 'custom', message: 'must be * or origins such as https://app.example.com' })
      return z.NEVER
    }
  }
  return list.map((item) => item.toLowerCase().replace(/\/$/, ''))
})

export const databaseUrl = z
  .string()
  .trim()
  .regex(/^postgres(ql)?:\/\//, 'must begin with postgres:// or postgresql://')

export const secret = z.string().min(32, 'must have at least 32 characters')

/** In bytes; `0` is for what can be turned off. */
export const byteSizeOrZero = z.string().transform((text, context) => {
  const bytes = parseByteSize(text)
  if (bytes !== null) return bytes
  context.addIssue({ code: 'custom', message: 'must be a number of bytes or a size such as 5GB' })
  return z.NEVER
})

/** In bytes. */
export const byteSize = byteSizeOrZero.refine(
  (bytes) => bytes > 0,
  'must be a number of bytes or a size such as 5GB',
)

/** In milliseconds. */
export const duration = z.string().transform((text, context) => {
  const ms = parseDuration(text)
  if (ms !== null) return ms
  context.addIssue({ code: 'custom', message: 'must be a duration such as 30s, 5m or 1h' })
  return z.NEVER
})

/** In milliseconds. */
export const durationAboveZero = duration.refine((ms) => ms > 0, 'must be more than 0')

export const jwks = z.string().transform((text, context) => {
  try {
    const parsed = z
      .object({ keys: z.array(z.record(z.string(), z.unknown())).min(1) })
      .parse(JSON.parse(text))
    return parsed
  } catch {
    context.addIssue({ code: 'custom', message: 'must be a JSON Web Key Set: {"keys":[…]}' })
    return z.NEVER
  }
})

export const webUrl = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .transform((text) => text.replace(/\/+$/, ''))

/** What S3 and its tools take without escapes; empty, or ends with a slash then, so that it is a folder to them. */
export const keyPrefix = z
  .string()
  .regex(/^(?:[\w.-]+(?:\/[\w.-]+)*\/?)?$/, 'must be a prefix such as strongroom/')
  .transform((text) => text.replace(/[^/]$/, '$&/'))
