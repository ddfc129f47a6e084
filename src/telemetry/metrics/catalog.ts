/** What is measured: each metric's name, what Prometheus is told of it, and what of several processes is one number. */
interface Metric {
  type: 'counter' | 'gauge' | 'histogram'
  /** Those of all its series. */
  labels: readonly string[]
  /** A sentence, for Prometheus and for docs/metrics.md. */
  help: string
  /** What the numbers of several processes become: their sum when left out. */
  across?: 'max' | 'min' | 'first'
}

const WHERE = ['operation', 'backend', 'tenant'] as const

/** All metrics of ours. docs/metrics.md has the same table, and a test compares both with what a server answers. */
export const CATALOG = {
  // What is asked for, by what has become of it.
  storage_upload_total: {
    type: 'counter',
    labels: ['bucket', 'status'],
    help: 'Requests that bring an object, or a part of one.',
  },
  storage_download_total: {
    type: 'counter',
    labels: ['bucket', 'status'],
    help: 'Requests for the bytes of an object.',
  },
  storage_upload_bytes_total: {
    type: 'counter',
    labels: ['bucket', 'backend', 'tenant'],
    help: 'Bytes of objects that were stored.',
  },
  storage_download_bytes_total: {
    type: 'counter',
    labels: ['bucket', 'backend', 'tenant'],
    help: 'Bytes of objects that were sent, by answers that came to their end.',
  },
  storage_operations_total: {
    type: 'counter',
    labels: ['operation', 'status', 'backend', 'tenant'],
    help: 'Operations on objects.',
  },
  storage_errors_total: {
    type: 'counter',
    labels: WHERE,
    help: 'Operations on objects that failed by a fault of the server, or of what it stands on.',
  },
  storage_operation_duration_seconds: {
    type: 'histogram',
    labels: WHERE,
    help: 'How long operations on objects took, from the first byte of the request to the last one of the answer.',
  },
  storage_bucket_operations_total: {
    type: 'counter',
    labels: ['operation', 'status'],
    help: 'Operations on buckets.',
  },
  storage_acl_operations_total: {
    type: 'counter',
    labels: ['operation', 'status'],
    help: 'Operations on access control lists.',
  },
  storage_requests_total: {
    type: 'counter',
    labels: ['surface', 'status'],
    help: 'All requests, by the protocol in which they came.',
  },
  storage_requests_admitted_total: {
    type: 'counter',
    labels: [],
    help: 'Requests that were not refused as too many.',
  },
  storage_requests_refused_total: {
    type: 'counter',
    labels: ['reason', 'kind'],
    help: 'Requests that were refused as too many, by the code of the error, and why: room (of the server), share (of a client) or rate.',
  },
  storage_lock_refusals_total: {
    type: 'counter',
    labels: ['by'],
    help: 'What was to be removed and is locked, and locks that were to be made shorter: by a request, by the lifecycle, or by age (retention), each time that it is tried.',
  },
  storage_link_refusals_total: {
    type: 'counter',
    labels: ['reason'],
    help: 'Signed URLs that were refused: as revoked, exhausted, or from an address that they are not for.',
  },
  storage_link_revocations_total: {
    type: 'counter',
    labels: [],
    help: 'How often signed URLs were revoked by requests to this server.',
  },
  storage_share_access_total: {
    type: 'counter',
    labels: ['result'],
    help: 'Attempts to use shares: allowed, or why not.',
  },

  // What is under way.
  storage_requests_in_flight: { type: 'gauge', labels: [], help: 'Requests under way.' },
  storage_uploads_in_flight: { type: 'gauge', labels: [], help: 'Uploads under way.' },
  storage_connections: { type: 'gauge', labels: [], help: 'Open connections of clients.' },
  storage_subscribers: {
    type: 'gauge',
    labels: [],
    help: 'Channels of WebSockets, and streams, that listen to events.',
  },

  // What it stands on.
  storage_backend_latency_seconds: {
    type: 'histogram',
    labels: ['operation', 'backend'],
    help: 'How long the place of the bytes took; of a stream only what it took after its last byte.',
  },
  storage_database_connections: {
    type: 'gauge',
    labels: [],
    help: 'Open connections to the database, without those that live as long as a session.',
  },
  storage_database_connections_in_use: {
    type: 'gauge',
    labels: [],
    help: 'Of these, those that work on a statement or a transaction.',
  },
  storage_database_waiting: {
    type: 'gauge',
    labels: [],
    help: 'Statements that wait for a connection to the database.',
  },
  storage_cache_hits_total: {
    type: 'counter',
    labels: ['cache'],
    help: 'What was found in memory: rows of public objects, and bytes of small ones.',
  },
  storage_cache_misses_total: { type: 'counter', labels: ['cache'], help: 'What was not found in memory.' },
  storage_cache_bytes: { type: 'gauge', labels: ['cache'], help: 'How much memory that takes.' },
  storage_disk_free_bytes: {
    type: 'gauge',
    labels: [],
    help: 'What is free for the server on the disk of the data folder.',
  },
  storage_disk_size_bytes: { type: 'gauge', labels: [], help: 'How large that disk is.' },
  storage_up: {
    type: 'gauge',
    labels: ['part'],
    help: 'Whether the last look at a part of the server has got an answer in time: 1 or 0.',
  },
  storage_look_age_seconds: {
    type: 'gauge',
    labels: ['look'],
    help: 'How old the numbers are that are not looked for at each scrape.',
  },

  // What there is, by the database.
  storage_bytes: {
    type: 'gauge',
    labels: ['bucket', 'tenant'],
    help: 'Bytes of the objects of a bucket.',
  },
  storage_objects: { type: 'gauge', labels: ['bucket', 'tenant'], help: 'Objects of a bucket.' },
  storage_version_bytes: {
    type: 'gauge',
    labels: ['bucket', 'tenant'],
    help: 'Bytes of versions of a bucket that are not the current ones, and of its trash.',
  },
  storage_versions: {
    type: 'gauge',
    labels: ['bucket', 'tenant'],
    help: 'Versions of a bucket that are not the current ones, and what is in its trash.',
  },
  storage_trash_bytes: {
    type: 'gauge',
    labels: ['bucket', 'tenant'],
    help: 'Bytes of what is in the trash of a bucket.',
  },
  storage_resumable_uploads: {
    type: 'gauge',
    labels: [],
    help: 'Resumable uploads, and uploads in parts, that are not finished.',
  },
  storage_resumable_upload_bytes: { type: 'gauge', labels: [], help: 'Bytes that have come of these.' },

  // Events.
  storage_outbox_lag_events: {
    type: 'gauge',
    labels: ['sink'],
    help: 'Events that a webhook, or NATS, has not got yet.',
  },
  storage_outbox_lag_seconds: {
    type: 'gauge',
    labels: ['sink'],
    help: 'How old the first of these is.',
  },
  storage_deliveries_total: {
    type: 'counter',
    labels: ['sink', 'status'],
    help: 'Tries to bring an event to a webhook, or to NATS.',
  },
  storage_pending_deliveries: {
    type: 'gauge',
    labels: [],
    help: 'Events that a webhook has not taken, and that will be tried again.',
  },
  storage_dead_letters: {
    type: 'gauge',
    labels: [],
    help: 'Events that were tried too often, and wait for somebody to look at them.',
  },

  // What the server does by itself.
  storage_orphan_files_total: {
    type: 'gauge',
    labels: [],
    help: 'Files that nothing names, as the last pass of the cleanup has found them.',
  },
  storage_cleanup_interval_seconds: {
    type: 'gauge',
    labels: [],
    help: 'Between two passes of the cleanup; 0 for none.',
  },
  storage_cleanup_last_success_timestamp_seconds: {
    type: 'gauge',
    labels: [],
    help: 'When this server has made its last pass; 0 before the first.',
  },
  storage_cleanup_passes_total: {
    type: 'counter',
    labels: ['status'],
    help: 'Passes of the cleanup: success, error, or skipped, since another server made one.',
  },
  storage_cleanup_repairs_total: {
    type: 'counter',
    labels: ['repair'],
    help: 'What these have repaired.',
  },
  storage_cleanup_failures_total: { type: 'counter', labels: [], help: 'Repairs that failed.' },
  storage_cleanup_held_buckets: {
    type: 'gauge',
    labels: [],
    help: 'Buckets that the last pass has left alone, as too much of them seemed to be lost.',
  },
  storage_auto_deleted_total: {
    type: 'counter',
    labels: [],
    help: 'Objects that this server has deleted since their days were over.',
  },
  storage_trash_purged_total: {
    type: 'counter',
    labels: [],
    help: 'What was in the trash and is gone for good: by request, also with its bucket, or after it was kept for long enough.',
  },
  storage_versions_purged_total: {
    type: 'counter',
    labels: [],
    help: 'Versions and what was in the trash that this server has removed, after they were kept for long enough.',
  },
  storage_lifecycle_actions_total: {
    type: 'counter',
    labels: ['action'],
    help: 'What this server has done by the rules of lifecycle policies.',
  },
  storage_scrub_last_success_timestamp_seconds: {
    type: 'gauge',
    labels: [],
    help: 'When a scrub of all objects has come to its end last; 0 before.',
  },
  storage_scrub_progress_ratio: {
    type: 'gauge',
    labels: [],
    help: 'How much of its objects the scrub by itself has checked: 0 to 1.',
  },
  storage_scrub_damaged_objects: {
    type: 'gauge',
    labels: ['reason'],
    help: 'What it has found: objects that are missing or corrupted.',
  },
  storage_backup_interval_seconds: {
    type: 'gauge',
    labels: [],
    help: 'The longest time between two backups of the schedule; 0 without one.',
  },
  storage_backup_last_success_timestamp_seconds: {
    type: 'gauge',
    labels: [],
    help: 'When the last backup of all buckets was completed; 0 without any.',
  },
  storage_backup_duration_seconds: {
    type: 'gauge',
    labels: [],
    help: 'How long that took.',
  },
  storage_backup_drill_last_success_timestamp_seconds: {
    type: 'gauge',
    labels: [],
    help: 'When a drill has restored a backup last; 0 without any.',
  },

  // The server itself.
  storage_build_info: {
    type: 'gauge',
    labels: ['version'],
    help: 'Always 1.',
    across: 'max',
  },
  storage_processes: {
    type: 'gauge',
    labels: [],
    help: 'Processes that answer requests, and have said how they are.',
  },
} as const satisfies Record<string, Metric>

export type MetricName = keyof typeof CATALOG

type LabelOf<Name extends MetricName> = (typeof CATALOG)[Name]['labels'][number]

/** One number of a metric. */
export interface Sample {
  labels: Record<string, string>
  value: number
  /** Of a histogram: with what the metric's name goes on. */
  metricName?: string
}

/** What one process says of one metric, as prom-client has it: plain enough for another process to be told. */
export interface Family {
  name: string
  help: string
  type: string
  aggregator: string
  values: Sample[]
}

/** A number with a value for each label of its metric. */
export interface SampleOf<Name extends MetricName> extends Sample {
  labels: Record<LabelOf<Name>, string>
}

export function family<Name extends MetricName>(name: Name, values: SampleOf<Name>[]): Family {
  const { type, help, across }: Metric = CATALOG[name]
  return { name, type, help, aggregator: across ?? 'sum', values }
}

/** Of a metric without labels. */
export function single(name: MetricsWithoutLabels, value: number): Family {
  return family(name, [{ labels: {}, value }])
}

type MetricsWithoutLabels = {
  [Name in MetricName]: (typeof CATALOG)[Name]['labels'] extends readonly [] ? Name : never
}[MetricName]
