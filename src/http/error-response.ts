import type { Logger } from 'pino'
import { StorageError, wireError } from '../errors.ts'
import type { AppContext } from './env.ts'

/**
 * The one renderer of errors on the REST surface (contract §1.5). What is no StorageError is a fault of ours:
 * logged whole, and told in one plain sentence with the request's id.
 */
export function errorResponse(c: AppContext, thrown: unknown, logger: Logger, compat: boolean): Response {
  const error = thrown instanceof StorageError ? thrown : new StorageError('InternalError', { cause: thrown })
  const { http, body } = wireError(error, compat)
  if (error.status >= 500) {
    logger.error(
      { err: error.cause ?? error, code: error.code, requestId: c.get('requestId') },
      error.message,
    )
  }
  if (error.status === 500) body.message = `${error.message} (request ${c.get('requestId')})`
  return c.json(body, http as 400, error.headers) // Hono's type names the usual statuses; 544 and 499 are ours
}
