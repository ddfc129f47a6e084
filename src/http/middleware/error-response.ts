import type { Logger } from 'pino'
import { StorageError } from '../../model/errors.ts'
import type { AppContext } from '../env.ts'
import type { ErrorAnswer, RequestContext } from '../surface.ts'

/** Answers with what was thrown, as the request's surface says it. */
export function errorResponse(c: AppContext, thrown: unknown, logger: Logger): Response {
  const error = loggedError(c.env, thrown, logger)
  return answerWith(c, c.env.surface.error(error, c.env))
}

export function answerWith(c: AppContext, { status, headers, body }: ErrorAnswer): Response {
  return c.body(body, status as 400, headers) // Hono's type names the usual statuses; 544 and 499 are ours
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

/** What was thrown, as an error of ours. What is no StorageError is a fault of ours, and logged whole. */
export function loggedError(request: RequestContext, thrown: unknown, logger: Logger): StorageError {
  const error = thrown instanceof StorageError ? thrown : new StorageError('InternalError', { cause: thrown })
  request.notes.failure = error
  if (isOurFault(error)) {
    const { requestId } = request
    logger.error({ err: error.cause ?? error, code: error.code, requestId }, error.message)
  }
  return error
}
