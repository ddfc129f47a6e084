import { Readable } from 'node:stream'
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  errors,
  type JSONWebKeySet,
  type JWTVerifyGetKey,
} from 'jose'
import { parseJson } from '../../lib/bounded-json.ts'
import { readBounded } from '../../lib/streams.ts'
import { StorageError } from '../../model/errors.ts'

/** A key with its certificates takes some kilobytes. In bytes. */
const MAX_KEY_SET_BYTES = 1024 * 1024

/**
 * The keys behind an address: fetched when needed, kept for ten minutes, asked for again when one is missing. They
 * throw what jose says of a token, and AuthenticationUnavailable.
 */
export function remoteKeys(url: string): JWTVerifyGetKey {
  const keys = createRemoteJWKSet(new URL(url), { [customFetch]: fetchKeySet })
  return async (header, token) => {
    try {
      return await keys(header, token)
    } catch (cause) {
      const isAboutToken =
        cause instanceof errors.JWKSNoMatchingKey ||
        cause instanceof errors.JWKSMultipleMatchingKeys ||
        cause instanceof errors.JOSENotSupported
      if (isAboutToken) throw cause
      throw new StorageError('AuthenticationUnavailable', { cause, headers: { 'Retry-After': '5' } })
    }
  }
}

/** How many keys there are behind an address now. @throws what `fetch` does, or what is wrong with the answer */
export async function countKeys(url: string, signal: AbortSignal): Promise<number> {
  const response = await fetchKeySet(url, { signal, redirect: 'manual' })
  if (response.status !== 200) throw new Error(`it answers ${response.status}`)
  const set = (await response.json()) as JSONWebKeySet
  createLocalJWKSet(set) // which refuses what is none
  return set.keys.length
}

/** `fetch` for jose, which would read and parse an answer of any length and depth. */
async function fetchKeySet(url: string, options: RequestInit): Promise<Response> {
  const response = await fetch(url, options)
  if (response.status !== 200 || response.body === null) return response
  const body = Readable.fromWeb(response.body)
  try {
    const bytes = await readBounded(body, MAX_KEY_SET_BYTES, () => new Error('the key set is too large'))
    return Response.json(parseJson(bytes.toString()))
  } finally {
    body.destroy()
  }
}
