import type { IncomingMessage } from 'node:http'
import { freeMemory } from '../../lib/free-memory.ts'
import { StorageError } from '../../model/errors.ts'
import type { Checksum, Chunk } from '../../storage/resumable/chunk-arrival.ts'
import type { ToldStatus } from '../../storage/resumable/resumable-uploads.ts'
import { declaredLength } from '../message/upload-headers.ts'

/** The protocol's only version. */
export const TUS_VERSION = '1.0.0'

/** What there is of the protocol's extensions. */
export const TUS_EXTENSIONS = [
  'creation',
  'creation-with-upload',
  'creation-defer-length',
  'termination',
  'expiration',
  'checksum',
].join(',')

/** The names that the protocol gives to hashes, which are also those of `createHash`. */
const CHECKSUM_ALGORITHMS = ['sha1', 'sha256', 'md5']
export const TUS_CHECKSUM_ALGORITHMS = CHECKSUM_ALGORITHMS.join(',')

/** What a body of bytes is called. */
const CHUNK_TYPE = 'application/offset+octet-stream'

/** @throws UnsupportedTusVersion */
export function checkVersion({ headers }: IncomingMessage): void {
  if (headers['tus-resumable'] !== TUS_VERSION) throw new StorageError('UnsupportedTusVersion')
}

/** Whether the body of the request is a chunk of an upload. */
export function bringsChunk({ headers }: IncomingMessage): boolean {
  return headers['content-type'] === CHUNK_TYPE
}

/** @throws InvalidRequest when the request has a body of another type */
export function checkChunkType(incoming: IncomingMessage): void {
  if (bringsChunk(incoming)) return
  throw new StorageError('InvalidRequest', { message: `Content-Type must be ${CHUNK_TYPE}` })
}

/**
 * The length that a creation declares, in bytes; null when it will come later.
 *
 * @throws InvalidRequest unless there is either a length or the word that it comes later
 */
export function createdLength(incoming: IncomingMessage): number | null {
  const length = numberIn(incoming, 'upload-length')
  const deferred = incoming.headers['upload-defer-length']
  if (deferred !== undefined && deferred !== '1') throw invalid('upload-defer-length')
  if ((length === null) === (deferred === undefined)) {
    throw new StorageError('InvalidRequest', {
      message: 'Either Upload-Length or Upload-Defer-Length: 1 is required',
    })
  }
  return length
}

/** @throws InvalidRequest when it is no number */
export function numberIn({ headers }: IncomingMessage, name: string): number | null {
  const text = headers[name]
  if (text === undefined) return null
  if (typeof text !== 'string' || !/^\d+$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw invalid(name)
  return Number(text)
}

/**
 * The chunk that a request brings.
 *
 * @param length of the whole upload, if the request says so; in bytes, as `offset`
 * @throws InvalidRequest when its checksum is malformed
 */
export function chunkIn(
  incoming: IncomingMessage,
  offset: number,
  length: number | null,
): Omit<Chunk, 'admit'> {
  const checksum = checksumIn(incoming)
  return { body: incoming, giveBack: freeMemory, size: declaredLength(incoming), offset, length, checksum }
}

/** When an upload ends: it has, or it will if nothing more comes. */
export function endHeaders({ expiresAt, isFinished }: ToldStatus): Record<string, string> {
  return isFinished ? { 'Tus-Complete': '1' } : { 'Upload-Expires': expiresAt.toUTCString() }
}

/** @throws InvalidRequest when it is malformed, or of an algorithm that we do not have */
function checksumIn({ headers }: IncomingMessage): Checksum | undefined {
  const text = headers['upload-checksum']
  if (text === undefined) return undefined
  const [, algorithm = '', digest = ''] = /^([a-z0-9]+) ([A-Za-z0-9+/]+={0,2})$/.exec(String(text)) ?? []
  if (!CHECKSUM_ALGORITHMS.includes(algorithm)) throw invalid('upload-checksum')
  return { algorithm, digest: Buffer.from(digest, 'base64') }
}

function invalid(name: string): StorageError {
  return new StorageError('InvalidRequest', { message: `Invalid ${name}` })
}
