import type { Logger } from 'pino'
import { StorageError, wireError } from '../../model/errors.ts'
import type { AppContext } from '../env.ts'

/** The one renderer of errors on the REST surface (wire §1.5). */
export function errorResponse(c: AppContext, thrown: unknown, logger: Logger, compat: boolean): Response {
  const { error, message } = loggedError(c, thrown, logger)
  const { http, body } = wireError(error, compat)
  if (error.status === 500) body.message = message
  return c.json(body, http as 400, error.headers) // Hono's type names the usual statuses; 544 and 499 are ours
}

/** Nothing is wrong with the server then. */
const EXPECTED = new Set<StorageError['code']>([
  'NotImplemented',
  'NoBroadcasts',
  'LockTimeout',
  'ShuttingDown',
  'ServerBusy',
  'TooManyUploads',
  'TooManySubscribers',
])

/** Whether it belongs into the log, as something that is wrong with the server. */
export function isOurFault({ status, code }: StorageError): boolean {
  return status >= 500 && !EXPECTED.has(code)
}

/**
 * What was thrown, as an error of ours, with the sentence for the client. What is no StorageError is a fault of ours:
 * logged whole, and told in one plain sentence with the request's id.
 */
export function loggedError(
  c: AppContext,
  thrown: unknown,
  logger: Logger,
): { error: StorageError; message: string } {
  const error = thrown instanceof StorageError ? thrown : new StorageError('InternalError', { cause: thrown })
  const requestId = c.get('requestId')
  if (isOurFault(error)) {
    logger.error({ err: error.cause ?? error, code: error.code, requestId }, error.message)
  }
  return { error, message: error.status === 500 ? `${error.message} (request ${requestId})` : error.message }
}
