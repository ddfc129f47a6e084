import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { StorageError } from '../../model/errors.ts'
import { declaredLength } from '../message/upload-headers.ts'
import { announcedTrailers } from './checksum-words.ts'
import { AwsChunkedBody } from './signature/aws-chunked.ts'
import type { Payload } from './signature/payload.ts'

/** A body without S3's own framing. */
export interface DecodedBody {
  /** Verifies the signatures of chunks as they are read; a hash of the whole is for its reader to compare. */
  stream: Readable
  /** In bytes, if the request says it. */
  length: number | null
  /** What stood behind the bytes, by lower-case names. Known once all has been read. */
  trailers: ReadonlyMap<string, string>
}

const NONE: ReadonlyMap<string, string> = new Map()

/** Nothing is read of it before somebody reads `stream`. @throws InvalidRequest */
export function decodedBody(incoming: IncomingMessage, payload: Payload): DecodedBody {
  if (payload.kind !== 'chunked') {
    return { stream: incoming, length: declaredLength(incoming), trailers: NONE }
  }
  const { signatures, hasTrailer } = payload
  const length = decodedLength(incoming)
  const announced = announcedTrailers(incoming.headers)
  const stream = new AwsChunkedBody(incoming, { signatures, hasTrailer, announced, length })
  return { stream, length: length ?? null, trailers: stream.trailers }
}

/** Of the bytes in the chunks. */
function decodedLength({ headers }: IncomingMessage): number | undefined {
  const text = headers['x-amz-decoded-content-length']
  if (text === undefined) return undefined
  if (typeof text === 'string' && /^\d{1,15}$/.test(text)) return Number(text)
  throw new StorageError('InvalidRequest', {
    message: 'x-amz-decoded-content-length must be a number of bytes',
  })
}
