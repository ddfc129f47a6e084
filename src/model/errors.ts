import { ERROR_TABLE, type ErrorRow, type Refusal } from './error-table.ts'

/** What `StorageError` can be about. */
export type ErrorCode = keyof typeof ERROR_TABLE

/** All of them. */
export const ERROR_CODES = Object.keys(ERROR_TABLE) as ErrorCode[]

export interface StorageErrorOptions extends ErrorOptions {
  /** Replaces the table's sentence; goes to the client. */
  message?: string
  /** Replaces the table's status, where a user's trigger names one. */
  status?: number
  /** Extra response headers, such as `Allow` or `Content-Range`. */
  headers?: Record<string, string>
}

/**
 * Any error a client can get: code throws `new StorageError('NoSuchKey')` anywhere; one renderer per wire surface turns it
 * into a response. Callers compare `error.code`, never the sentence.
 */
export class StorageError extends Error {
  override readonly name = 'StorageError'
  readonly headers: Record<string, string>
  /** The true HTTP status. */
  readonly status: number

  constructor(
    readonly code: ErrorCode,
    options: StorageErrorOptions = {},
  ) {
    const row: ErrorRow = ERROR_TABLE[code]
    super(options.message ?? row.message, options)
    this.headers = { ...row.headers, ...options.headers }
    this.status = options.status ?? row.status
  }

  /** The sentence for an operator, not for clients: with the reason why the file store cannot be used. */
  get explanation(): string {
    return this.reason === this.message ? this.message : `${this.message}: ${this.reason}`
  }

  /** Why the file store cannot be used, for an operator; of other errors the message. */
  get reason(): string {
    const isStores = this.code === 'BackendRefused' || this.code === 'BackendUnavailable'
    return isStores && this.cause instanceof Error ? this.cause.message : this.message
  }
}

/** Whether `error` is one of ours, of this code. */
export function hasCode(error: unknown, code: ErrorCode): error is StorageError {
  return error instanceof StorageError && error.code === code
}

/** Undefined for an error that tells of anything else. */
export function refusalOf(code: ErrorCode): Refusal | undefined {
  const row: ErrorRow = ERROR_TABLE[code]
  return row.refusal
}

/** The four fields of a JSON error body (wire §1.5), and the HTTP status to send them with. */
export interface WireError {
  http: number
  body: { statusCode: string; error: string; message: string; code: string }
}

/** What travels for `error`, in the default shape or exactly as Supabase's (wire §1.6). */
export function wireError(error: StorageError, compat: boolean): WireError {
  const row: ErrorRow = ERROR_TABLE[error.code]
  const customMessage = error.message === row.message ? undefined : error.message
  if (!compat) {
    const code = row.wireCode ?? error.code
    return {
      http: error.status,
      body: { statusCode: String(error.status), error: row.label ?? code, message: error.message, code },
    }
  }
  const status = row.compat?.status ?? error.status
  const code = row.compat?.wireCode ?? row.wireCode ?? error.code
  return {
    http: row.compat?.http ?? (status === 500 ? 500 : 400),
    body: {
      statusCode: String(status),
      error: row.compat?.label ?? row.label ?? code,
      message: customMessage ?? row.compat?.message ?? row.message,
      code,
    },
  }
}
