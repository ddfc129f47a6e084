import type { DatabasePlace } from '../../database/connection/place.ts'
import type { Parts } from '../../model/part-health.ts'
import type { Change } from '../../storage/object/changes.ts'
import type { Family } from '../../telemetry/metrics/catalog.ts'
import type { Keys } from '../keys.ts'
import type { Addresses } from '../request-server.ts'
import type { S3Port } from '../s3-port.ts'

// What the primary and its workers say to each other, on the channel that Node opens between them.

/** What a worker cannot read from the settings, which it has from the environment, as the primary has. */
export interface Assignment {
  /** As they were at the start: a worker that is started later must take the same tokens as the others. */
  keys: Keys
  /** Null when it is turned off, or was taken: all workers have it, or none. */
  s3Port: S3Port | null
  /** Started, migrated, and the primary's to stop. */
  database: DatabasePlace
}

/** What a worker may ask the primary, which knows of all of them. */
export interface Answers {
  /** In Prometheus' text format. */
  metrics: string
  /** How what the server does by itself gets on. */
  health: Parts
}

/** How the primary finds them. */
export type Answering = { [About in keyof Answers]: () => Promise<Answers[About]> }

/**
 * The answer to `ready`, and at any time after it `stop`. `drop` is what another worker has changed; `invalidated`
 * answers a worker's own `changed`. `report` asks for what the worker has counted; `answered` answers what it asks itself,
 * with null when that has failed.
 */
export type ToWorker =
  | { type: 'serve'; assignment: Assignment }
  | { type: 'stop' }
  | { type: 'drop'; id: number; changes: Change[] }
  | { type: 'invalidated'; id: number }
  | { type: 'report'; id: number }
  | { type: 'answered'; id: number; answer: Answers[keyof Answers] | null }

/**
 * First `ready`, since Node drops what comes before somebody listens. A worker that cannot serve says in a line why, for
 * a human.
 */
export type FromWorker =
  | { type: 'ready' }
  | ({ type: 'listening' } & Addresses)
  | { type: 'failed'; reason: string }
  | { type: 'changed'; id: number; changes: Change[] }
  | { type: 'dropped'; id: number }
  | { type: 'reported'; id: number; families: Family[] }
  | { type: 'ask'; id: number; about: keyof Answers }
