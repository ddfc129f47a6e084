import { byteSize, durationAboveZero, integer, share } from './fields.ts'
import { setting, type ValuesOf } from './setting.ts'

/** How much one process takes on at once, and for how long it waits (decision 0019). */
export type Limits = ValuesOf<typeof LIMITS_TABLE>

/** What those who listen to events may take of one process (decision 0023). */
export type ListenerLimits = Limits['listeners']

export const DEFAULT_CONNECTIONS = 20_000

export const LIMITS_TABLE = {
  connections: setting('STORAGE_MAX_CONNECTIONS', integer(1, 1_000_000), {
    preset: String(DEFAULT_CONNECTIONS),
    help: 'most open connections, and at most half of `ulimit -Hn` (see [Limits](limits.md))',
  }),
  /** Those that wait for the database too. */
  requests: setting('STORAGE_MAX_REQUESTS', integer(1, 1_000_000), {
    preset: '5000',
    help: 'most requests under way',
  }),
  /** Each has a file, buffers and a row. */
  uploads: setting('STORAGE_MAX_UPLOADS', integer(1, 1_000_000), {
    preset: '2000',
    help: 'most uploads under way',
  }),
  uploadShare: setting('STORAGE_MAX_UPLOAD_SHARE', share, {
    preset: '0.25',
    help: 'largest part of these for one subject, access key or address; `1` is no bound',
  }),
  listeners: {
    connections: setting('STORAGE_MAX_LISTENERS', integer(1, 1_000_000), {
      preset: '10000',
      help: 'most WebSockets and streams of events, and at most half of the connections',
    }),
    subscribers: setting('STORAGE_MAX_SUBSCRIBERS', integer(1, 1_000_000), {
      preset: '20000',
      help: 'most channels of all WebSockets, and streams of events',
    }),
    share: setting('STORAGE_MAX_LISTENER_SHARE', share, {
      preset: '0.1',
      help: 'largest part of both for one subject, or one address without; `1` is no bound',
    }),
    unreadBytes: setting('STORAGE_MAX_UNREAD', byteSize, {
      preset: '256MB',
      help: 'most that all listeners together may leave unread',
    }),
  },
  /** Of resumable uploads (decision 0016). */
  unfinished: {
    uploads: setting('STORAGE_MAX_UNFINISHED_UPLOADS', integer(1, 1_000_000), {
      preset: '1000',
      help: 'most resumable uploads that one subject, or one address without, has not finished',
    }),
    bytes: setting('STORAGE_MAX_UNFINISHED_SIZE', byteSize, {
      preset: '100GB',
      help: 'how large they may become together; one upload is always let in',
    }),
  },
  requestMs: setting('STORAGE_REQUEST_TIMEOUT', durationAboveZero, {
    preset: '60s',
    help: 'for all headers of a request, for all of a JSON body, and for the first bytes of an upload whose type they have to say',
  }),
  idleMs: setting('STORAGE_IDLE_TIMEOUT', durationAboveZero, {
    preset: '120s',
    help: 'after so long without a byte a connection is given up',
  }),
  /** In bytes per second. */
  minUploadRate: setting('STORAGE_MIN_UPLOAD_RATE', integer(0, 1_000_000_000), {
    preset: '500',
    help:
      'bytes per second that a body has to bring, over the idle time; `0` is any. A request with less than sixteen ' +
      'times as much, in its body or in what its client reads, gives way when there are too many',
  }),
  databaseMs: setting('STORAGE_DATABASE_TIMEOUT', durationAboveZero, {
    preset: '45s',
    help: 'how long the database may take for an answer',
  }),
  listMs: setting('STORAGE_LIST_TIMEOUT', durationAboveZero, {
    preset: '5s',
    help: "how long it may work on a list, or on a bucket's statistics",
  }),
  healthCheckMs: setting('STORAGE_HEALTH_CHECK_TIMEOUT', durationAboveZero, {
    preset: '5s',
    help: 'after so long without an answer a part counts as failing in `/health`, `/health/ready` and `/health/detailed`',
  }),
}
