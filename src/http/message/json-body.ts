import type { IncomingMessage } from 'node:http'
import type { z } from 'zod'
import { JsonTooComplex, parseJson } from '../../lib/bounded-json.ts'
import { readBounded } from '../../lib/streams.ts'
import { StorageError } from '../../model/errors.ts'
import { expectInOneGo } from '../connection/body-pace.ts'

/** Room for some of the longest names with every character escaped. In bytes. */
const MAX_JSON_BYTES = 64 * 1024

/** Of what is about many objects at once: room for a thousand of the longest names. In bytes. */
export const MAX_BULK_BYTES = 2 * 1024 * 1024

/** Reads the JSON bodies of a mode's requests. */
export function jsonReader({ supabaseCompat }: { supabaseCompat: boolean }) {
  return <T>(incoming: IncomingMessage, schema: z.ZodType<T>, { maxBytes = MAX_JSON_BYTES } = {}) =>
    readJson(incoming, schema, { maxBytes, dropsUnknown: supabaseCompat })
}

export interface Reading {
  maxBytes: number
  /** Whether fields that nobody knows mean nothing, or are refused. */
  dropsUnknown: boolean
}

/**
 * Reads a JSON body, bounded, and checks its shape. An empty body counts as `{}` (wire §2.3).
 *
 * @throws BodyTooLarge, RequestTimeout, InvalidRequest with a message that begins with the failing place (wire §1.6)
 */
async function readJson<T>(
  incoming: IncomingMessage,
  schema: z.ZodType<T>,
  { maxBytes, dropsUnknown }: Reading,
): Promise<T> {
  const tooLarge = () => new StorageError('BodyTooLarge')
  if (Number(incoming.headers['content-length'] ?? 0) > maxBytes) throw tooLarge()
  expectInOneGo(incoming)
  const bytes = await readBounded(incoming, maxBytes, tooLarge).catch((cause: unknown) => {
    throw cause instanceof StorageError ? cause : new StorageError('Aborted', { cause })
  })
  return checkShape('body', parseBody(bytes), schema, dropsUnknown)
}

/**
 * @param value is not ours any more: with `dropsUnknown` it loses the fields that nobody knows
 * @throws InvalidRequest whose message begins with `place`, such as `querystring/limit`
 */
export function checkShape<T>(place: string, value: unknown, schema: z.ZodType<T>, dropsUnknown = false): T {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const issues = parsed.error.issues.flatMap(withinUnion)
  const unknown = issues.filter((issue) => issue.code === 'unrecognized_keys')
  if (dropsUnknown && unknown.length > 0) {
    for (const { path, keys } of unknown) {
      const holder = path.reduce((inner, step) => (inner as Record<PropertyKey, unknown>)[step], value)
      for (const key of keys) delete (holder as Record<string, unknown>)[key]
    }
    return checkShape(place, value, schema)
  }
  // A name that is wrong explains what is missing.
  const issue = unknown[0] ?? issues[0]
  const where = [place, ...(issue?.path ?? []).map(String)].join('/')
  throw new StorageError('InvalidRequest', { message: `${where} ${issue?.message ?? 'is not valid'}` })
}

/** What is wrong with what may be of several types: it is told of the one that it has. */
function withinUnion(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue]
  const isOfOtherType = ({ code, path }: z.core.$ZodIssue) => code === 'invalid_type' && path.length === 0
  const meant = issue.errors.find((issues) => !issues.some(isOfOtherType))
  return meant?.map((one) => ({ ...one, path: [...issue.path, ...one.path] })) ?? [issue]
}

function parseBody(bytes: Buffer): unknown {
  if (bytes.length === 0) return {}
  try {
    return parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    const sentence = cause instanceof JsonTooComplex ? cause.message : 'must be valid JSON'
    throw new StorageError('InvalidRequest', { message: `body ${sentence}`, cause })
  }
}
