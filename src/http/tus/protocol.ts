import type { Logger } from 'pino'
import type { StorageError } from '../../model/errors.ts'
import type { AppContext } from '../env.ts'
import { sentenceFor } from '../message/json-error.ts'
import { answerWith, loggedError } from '../middleware/error-response.ts'
import type { ErrorAnswer, RequestContext } from '../surface.ts'
import { TUS_CHECKSUM_ALGORITHMS, TUS_EXTENSIONS, TUS_VERSION } from './headers.ts'

export const TUS_PATH = '/upload/resumable'

/** What every answer of the protocol carries, and what OPTIONS tells of this server (TUS 1.0, wire §5.5). */
export function tusHeaders(method: string | undefined, maxFileSize: number): Record<string, string> {
  if (method !== 'OPTIONS') return { 'Tus-Resumable': TUS_VERSION }
  return {
    'Tus-Resumable': TUS_VERSION,
    'Tus-Version': TUS_VERSION,
    'Tus-Extension': TUS_EXTENSIONS,
    'Tus-Max-Size': String(maxFileSize),
    'Tus-Checksum-Algorithm': TUS_CHECKSUM_ALGORITHMS,
  }
}

/** Errors that this surface tells otherwise (wire §5.8). */
const STATUS: Partial<Record<StorageError['code'], number>> = {
  InvalidJWT: 400,
  ExpiredToken: 400,
  InvalidSignature: 400,
  LinkRevoked: 400,
  // tus-js-client gives up at 408, and goes on by itself after this: what has come is kept.
  RequestTimeout: 503,
  // And at 429.
  SlowDown: 503,
  TooManyUploadsOfOneClient: 503,
}

const TEXT: Partial<Record<StorageError['code'], string>> = {
  InvalidJWT: 'Invalid Compact JWS',
  ExpiredToken: '"exp" claim timestamp check failed',
  EntityTooLarge: 'Maximum size exceeded\n',
  OffsetConflict: 'Upload-Offset conflict\n',
}

/** What an upload has thrown, in plain text and with the true status (wire §5.8). */
export function tusAnswer(
  error: StorageError,
  request: RequestContext | undefined,
  isHead: boolean,
): ErrorAnswer {
  // At a HEAD that fails otherwise than so, tus-js-client forgets the upload, and begins it anew from its first byte.
  const status = STATUS[error.code] ?? error.status
  const isForNow = isHead && status > 500
  return {
    status: isForNow ? 423 : status,
    headers: {
      ...error.headers,
      // The rest of a chunk that was taken from its request will not be read.
      ...(error.code === 'ResourceLocked' && { Connection: 'close' }),
      'Content-Type': 'text/plain; charset=utf-8',
      'Cache-Control': 'no-store',
    },
    body: TEXT[error.code] ?? sentenceFor(error, request),
  }
}

export function tusError(c: AppContext, thrown: unknown, logger: Logger, isHead: boolean): Response {
  return answerWith(c, tusAnswer(loggedError(c.env, thrown, logger), c.env, isHead))
}
