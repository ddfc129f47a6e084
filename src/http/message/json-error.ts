import { type StorageError, wireError } from '../../model/errors.ts'
import type { ErrorAnswer, RequestContext } from '../surface.ts'
import { jsonLine } from './json-lines.ts'

/** An error in JSON (wire §1.5): in a line, where bodies are not Supabase's to the last byte. */
export function jsonError(
  error: StorageError,
  request: RequestContext | undefined,
  compat: boolean,
): ErrorAnswer {
  const { http, body } = wireError(error, compat)
  if (error.status === 500) body.message = sentenceFor(error, request)
  return {
    status: http,
    headers: { 'Content-Type': 'application/json', ...error.headers },
    body: compat ? JSON.stringify(body) : jsonLine(body),
  }
}

/** What a client is told, who can name the request when something went wrong on our side. */
export function sentenceFor({ status, message }: StorageError, request: RequestContext | undefined): string {
  return status === 500 && request ? `${message} (request ${request.requestId})` : message
}
