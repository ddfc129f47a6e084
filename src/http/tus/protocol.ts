import type { MiddlewareHandler } from 'hono'
import type { Logger } from 'pino'
import type { StorageError } from '../../model/errors.ts'
import type { AppContext, Env } from '../env.ts'
import { requestTarget } from '../message/request-path.ts'
import { loggedError } from '../middleware/error-response.ts'
import type { Services } from '../services.ts'
import { TUS_CHECKSUM_ALGORITHMS, TUS_EXTENSIONS, TUS_VERSION } from './headers.ts'

export const TUS_PATH = '/upload/resumable'

export function isTusPath(path: string): boolean {
  return path === TUS_PATH || path.startsWith(`${TUS_PATH}/`)
}

/** What every answer of the protocol carries, and what OPTIONS tells of this server (TUS 1.0, wire §5.5). */
export function tusHeaders({ maxFileSize }: Pick<Services, 'maxFileSize'>): MiddlewareHandler<Env> {
  return async (c, next) => {
    const { incoming, outgoing } = c.env
    if (!isTusPath(requestTarget(incoming).path)) return next()
    // On Node's response, so that errors carry it too.
    outgoing.setHeader('Tus-Resumable', TUS_VERSION)
    if (incoming.method === 'OPTIONS') {
      outgoing.setHeader('Tus-Version', TUS_VERSION)
      outgoing.setHeader('Tus-Extension', TUS_EXTENSIONS)
      outgoing.setHeader('Tus-Max-Size', String(maxFileSize))
      outgoing.setHeader('Tus-Checksum-Algorithm', TUS_CHECKSUM_ALGORITHMS)
    }
    return next()
  }
}

/** Errors that this surface tells otherwise (wire §5.8). */
const STATUS: Partial<Record<StorageError['code'], number>> = {
  InvalidJWT: 400,
  ExpiredToken: 400,
  InvalidSignature: 400,
  // tus-js-client gives up at 408, and goes on by itself after this: what has come is kept.
  RequestTimeout: 503,
}

const TEXT: Partial<Record<StorageError['code'], string>> = {
  InvalidJWT: 'Invalid Compact JWS',
  ExpiredToken: '"exp" claim timestamp check failed',
  EntityTooLarge: 'Maximum size exceeded\n',
  OffsetConflict: 'Upload-Offset conflict\n',
}

/** The renderer of errors of this surface: plain text and the true status (wire §5.8). */
export function tusError(c: AppContext, thrown: unknown, logger: Logger, isHead: boolean): Response {
  const { error, message } = loggedError(c, thrown, logger)
  // At a HEAD that fails otherwise than so, tus-js-client forgets the upload, and begins it anew from its first byte.
  const isForNow = isHead && error.status > 500
  const status = isForNow ? 423 : (STATUS[error.code] ?? error.status)
  // The rest of a chunk that was taken from its request will not be read.
  const headers = error.code === 'ResourceLocked' ? { ...error.headers, Connection: 'close' } : error.headers
  return c.body(TEXT[error.code] ?? message, status as 400, {
    ...headers,
    'Content-Type': 'text/plain; charset=utf-8',
    'Cache-Control': 'no-store',
  })
}
