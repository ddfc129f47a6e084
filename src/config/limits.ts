import { z } from 'zod'
import { byteSize, duration, integer, share } from './fields.ts'

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
  /** How long it may work on a list, or on a bucket's statistics, in milliseconds. STORAGE_LIST_TIMEOUT, 5s. */
  listMs: number
  listeners: ListenerLimits
  unfinished: UnfinishedLimits
}

/** What one subject, or one address without, may have of resumable uploads that are not finished (decision 0016). */
export interface UnfinishedLimits {
  /** STORAGE_MAX_UNFINISHED_UPLOADS, 1000. */
  uploads: number
  /** What they say that they will be together, in bytes; one upload always. STORAGE_MAX_UNFINISHED_SIZE, 100GB. */
  bytes: number
}

/** What those who listen to events may take of one process (decision 0023). */
export interface ListenerLimits {
  /** WebSockets and streams of events. Never more than half of all connections. STORAGE_MAX_LISTENERS, 10000. */
  connections: number
  /** Channels of all WebSockets, and streams of events. STORAGE_MAX_SUBSCRIBERS, 20000. */
  subscribers: number
  /** Largest part of both for one subject, or one address without; 0 to 1. STORAGE_MAX_LISTENER_SHARE, 0.1. */
  share: number
  /** What all of them together may leave unread, in bytes. STORAGE_MAX_UNREAD, 256MB. */
  unreadBytes: number
}

export const DEFAULT_CONNECTIONS = 20_000

const wait = duration.refine((ms) => ms > 0, 'must be more than 0')

export const limitFields = {
  STORAGE_MAX_CONNECTIONS: integer(1, 1_000_000).default(DEFAULT_CONNECTIONS),
  STORAGE_MAX_REQUESTS: integer(1, 1_000_000).default(5000),
  STORAGE_MAX_UPLOADS: integer(1, 1_000_000).default(2000),
  STORAGE_REQUEST_TIMEOUT: wait.default(60_000),
  STORAGE_IDLE_TIMEOUT: wait.default(120_000),
  STORAGE_MIN_UPLOAD_RATE: integer(0, 1_000_000_000).default(500),
  STORAGE_DATABASE_TIMEOUT: wait.default(45_000),
  STORAGE_LIST_TIMEOUT: wait.default(5000),
  STORAGE_MAX_LISTENERS: integer(1, 1_000_000).default(10_000),
  STORAGE_MAX_SUBSCRIBERS: integer(1, 1_000_000).default(20_000),
  STORAGE_MAX_LISTENER_SHARE: share.default(0.1),
  STORAGE_MAX_UNREAD: byteSize.default(256_000_000),
  STORAGE_MAX_UNFINISHED_UPLOADS: integer(1, 1_000_000).default(1000),
  STORAGE_MAX_UNFINISHED_SIZE: byteSize.default(100_000_000_000),
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
    listMs: v.STORAGE_LIST_TIMEOUT,
    listeners: {
      connections: v.STORAGE_MAX_LISTENERS,
      subscribers: v.STORAGE_MAX_SUBSCRIBERS,
      share: v.STORAGE_MAX_LISTENER_SHARE,
      unreadBytes: v.STORAGE_MAX_UNREAD,
    },
    unfinished: { uploads: v.STORAGE_MAX_UNFINISHED_UPLOADS, bytes: v.STORAGE_MAX_UNFINISHED_SIZE },
  }
}
