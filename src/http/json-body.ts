import type { IncomingMessage } from 'node:http'
import type { z } from 'zod'
import { JsonTooComplex, parseJson } from '../bounded-json.ts'
import { StorageError } from '../errors.ts'
import { readBounded } from '../read-bounded.ts'
import { expectInOneGo } from './body-pace.ts'

/** Room for some of the longest names with every character escaped. In bytes. */
const MAX_JSON_BYTES = 64 * 1024

/** Of what is about many objects at once: room for a thousand of the longest names. In bytes. */
export const MAX_BULK_BYTES = 2 * 1024 * 1024

/**
 * Reads a JSON body, bounded, and checks its shape. An empty body counts as `{}` (contract §2.3).
 *
 * @throws BodyTooLarge, RequestTimeout, InvalidRequest with a message that begins with the failing place (contract §1.6)
 */
export async function readJson<T>(
  incoming: IncomingMessage,
  schema: z.ZodType<T>,
  { maxBytes = MAX_JSON_BYTES }: { maxBytes?: number } = {},
): Promise<T> {
  const tooLarge = () => new StorageError('BodyTooLarge')
  if (Number(incoming.headers['content-length'] ?? 0) > maxBytes) throw tooLarge()
  expectInOneGo(incoming)
  const bytes = await readBounded(incoming, maxBytes, tooLarge).catch((cause: unknown) => {
    throw cause instanceof StorageError ? cause : new StorageError('Aborted', { cause })
  })
  return checkShape('body', parseBody(bytes), schema)
}

/** @throws InvalidRequest whose message begins with `place`, such as `querystring/limit` */
export function checkShape<T>(place: string, value: unknown, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const where = [place, ...(issue?.path ?? []).map(String)].join('/')
  throw new StorageError('InvalidRequest', { message: `${where} ${issue?.message ?? 'is not valid'}` })
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
