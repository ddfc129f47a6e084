import { z } from 'zod'
import { duration, integer } from './config-fields.ts'

/** How much one process takes on at once, and for how long it waits (decision 0019). */
export interface Limits {
  /** Open connections. Never more than fit into half of the process's open files. STORAGE_MAX_CONNECTIONS, 20000. */
  connections: number
  /** Requests under way, those that wait for the database too. STORAGE_MAX_REQUESTS, 5000. */
  requests: number
  /** Uploads under way, each with a file, buffers and a row. STORAGE_MAX_UPLOADS, 2000. */
  uploads: number
  /** For all headers of a request, and for all of a JSON body, in milliseconds. STORAGE_REQUEST_TIMEOUT, 60s. */
  requestMs: number
  /** After so long without a byte a connection is given up, in milliseconds. STORAGE_IDLE_TIMEOUT, 120s. */
  idleMs: number
  /** Bytes per second that a body brings at least, over the idle time. STORAGE_MIN_UPLOAD_RATE, 500; 0 is any. */
  minUploadRate: number
  /** How long the database may take for an answer, in milliseconds. STORAGE_DATABASE_TIMEOUT, 45s. */
  databaseMs: number
}

const wait = duration.refine((ms) => ms > 0, 'must be more than 0')

export const limitFields = {
  STORAGE_MAX_CONNECTIONS: integer(1, 1_000_000).default(20_000),
  STORAGE_MAX_REQUESTS: integer(1, 1_000_000).default(5000),
  STORAGE_MAX_UPLOADS: integer(1, 1_000_000).default(2000),
  STORAGE_REQUEST_TIMEOUT: wait.default(60_000),
  STORAGE_IDLE_TIMEOUT: wait.default(120_000),
  STORAGE_MIN_UPLOAD_RATE: integer(0, 1_000_000_000).default(500),
  STORAGE_DATABASE_TIMEOUT: wait.default(45_000),
}

const schema = z.object(limitFields)

export function limits(v: z.infer<typeof schema>): Limits {
  return {
    connections: v.STORAGE_MAX_CONNECTIONS,
    requests: v.STORAGE_MAX_REQUESTS,
    uploads: v.STORAGE_MAX_UPLOADS,
    requestMs: v.STORAGE_REQUEST_TIMEOUT,
    idleMs: v.STORAGE_IDLE_TIMEOUT,
    minUploadRate: v.STORAGE_MIN_UPLOAD_RATE,
    databaseMs: v.STORAGE_DATABASE_TIMEOUT,
  }
}
