import { sql } from 'drizzle-orm'
import type postgres from '#postgres'
import type { Caller } from '../../model/caller.ts'
import type { EventType } from '../../model/event-types.ts'
import { asService, callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { inOurErrors } from '../connection/postgres-error.ts'
import { dateOr1970 } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'

/** One row of `storage.events`, with its place in the order of delivery. */
export interface StorageEvent {
  /** Counts up without gaps. Whoever has had an event has had, or may not have, all that come before it. */
  position: number
  type: EventType
  /** Null for what concerns no bucket: the service alone hears of it. */
  bucket: string | null
  /** Null for a bucket's events. */
  path: string | null
  /** Where the object was before a move, else null. */
  oldBucket: string | null
  oldPath: string | null
  version: string | null
  /** Of an update the version before it. */
  oldVersion: string | null
  /** In bytes. */
  size: number | null
  contentType: string | null
  /** SHA-256, 64 lower-case hexadecimal digits. */
  checksum: string | null
  ownerId: string | null
  createdAt: Date
  /** What its caller was doing (wire §3.2, §7.6), or null for plain SQL. */
  operation: string | null
  /** The object's row as of then, by its columns; of a deletion the last one. Null for a bucket's events. */
  record: EventRecord | null
  /** What its type tells besides. */
  data: Record<string, unknown> | null
  /** Of the request that it comes of, where that was traced (https://www.w3.org/TR/trace-context/). */
  traceparent: string | null
}

/** Columns of `storage.objects`; dates as PostgreSQL writes them in JSON. Events from before there were records have no id. */
export type EventRecord = { id: string | null; bucket_id: string; name: string } & Record<string, unknown>

/** Whoever asks to hear events: part of a Caller. */
export type Claimant = Pick<Caller, 'role' | 'subject' | 'claims' | 'token'>

/** The channel of PostgreSQL's NOTIFY by which servers tell each other of new positions. @throws DatabaseUnavailable */
export async function eventsChannel(sql: postgres.Sql): Promise<string> {
  const [row] = await inOurErrors(sql<[{ name: string }]>`select storage.events_channel() as name`)
  return row.name
}

/**
 * Gives every committed event that has none yet the next position, and tells the other servers. Returns the newest
 * position.
 *
 * @throws DatabaseUnavailable
 */
export async function orderEvents(database: Database): Promise<number> {
  const [row] = await database.run(ORDER_EVENTS, {})
  return Number(row?.newest)
}

const ORDER_EVENTS = new Statement<object, { newest: string }>('select storage.order_events() as newest')

/** The events after a position, at most `limit`, in order. @throws DatabaseUnavailable */
export async function readEvents(database: Database, after: number, limit: number): Promise<StorageEvent[]> {
  const rows = await database.run(READ_EVENTS, { after, limit })
  return rows.map((row) => ({
    position: Number(row.event_position),
    type: row.type,
    bucket: row.bucket_id,
    path: row.name,
    oldBucket: row.old_bucket_id,
    oldPath: row.old_name,
    version: row.version,
    oldVersion: row.old_version,
    size: row.size === null ? null : Number(row.size),
    contentType: row.content_type,
    checksum: row.checksum,
    ownerId: row.owner_id,
    createdAt: dateOr1970(row.created_at),
    operation: row.operation,
    record: row.record,
    data: row.data,
    traceparent: row.traceparent,
  }))
}

const READ_EVENTS = new Statement<{ after: number; limit: number }, Row>(
  'select * from storage.read_events(:after, :limit)',
)

interface Row {
  event_position: string
  type: EventType
  bucket_id: string | null
  name: string | null
  old_bucket_id: string | null
  old_name: string | null
  version: string | null
  old_version: string | null
  size: string | null
  content_type: string | null
  checksum: string | null
  owner_id: string | null
  created_at: string
  operation: string | null
  record: EventRecord | null
  data: Record<string, unknown> | null
  traceparent: string | null
}

/** Names that an event is about: where an object is, and where it was before a move. Null for a bucket's events. */
export interface ChangedNames {
  position: number
  /** Null for what concerns no bucket. */
  bucket: string | null
  path: string | null
  oldBucket: string | null
  oldPath: string | null
}

/** What the events after a position are about, at most `limit` of them, in order. @throws DatabaseUnavailable */
export async function changedNames(
  database: Database,
  after: number,
  limit: number,
): Promise<ChangedNames[]> {
  const rows = await database.run(CHANGED_NAMES, { after, limit })
  return rows.map((row) => ({
    position: Number(row.event_position),
    bucket: row.bucket_id,
    path: row.name,
    oldBucket: row.old_bucket_id,
    oldPath: row.old_name,
  }))
}

const CHANGED_NAMES = new Statement<
  { after: number; limit: number },
  Pick<Row, 'event_position' | 'bucket_id' | 'name' | 'old_bucket_id' | 'old_name'>
>('select * from storage.changed_names(:after, :limit)')

/** What a claimant may know of an event. */
export interface Sight {
  /** What it is about, where it is now. */
  sees: boolean
  /** The place that a move has left. */
  saw: boolean
}

/**
 * Asks the policies which of these events somebody may hear of, in one round trip.
 *
 * @throws DatabaseUnavailable; whatever a policy throws, as ours
 */
export async function readableEvents(
  database: Database,
  claimant: Claimant,
  positions: number[],
): Promise<Map<number, Sight>> {
  const context = callerContext({
    ...claimant,
    operation: 'storage.event.read',
    method: 'GET',
    path: '/events',
    headers: {},
    userBuckets: false,
  })
  const rows = await database.run(READABLE_EVENTS, { positions, context })
  return new Map(rows.map(({ event_position, sees, saw }) => [Number(event_position), { sees, saw }]))
}

const READABLE_EVENTS = new Statement<
  { positions: number[]; context: string },
  { event_position: string; sees: boolean; saw: boolean }
>('select * from storage.readable_events(:positions::bigint[], :context)')

/** The first position whose event is still kept, or the next one to come when there is none. */
export async function oldestPosition(database: Database): Promise<number> {
  const [row] = await asService(database, (tx) =>
    tx.execute<{ oldest: string }>(sql`select coalesce(
        (select o.position from storage.event_order o join storage.events e on e.id = o.event_id
          order by o.position limit 1),
        (select max(position) + 1 from storage.event_order)
      ) as oldest`),
  )
  return Number(row?.oldest)
}

/**
 * How far a sink has got. A new one begins with what happens from now on.
 *
 * @param newest the newest position
 */
export async function sinkPosition(database: Database, name: string, newest: number): Promise<number> {
  const [row] = await asService(database, (tx) =>
    tx.execute<{ position: string }>(sql`insert into storage.event_sinks as s (name, position)
      values (${name}, ${newest}) on conflict (name) do update set name = s.name returning position`),
  )
  return Number(row?.position)
}

/**
 * Gives a new sink its place: what happens from now on is its, whenever it first comes to work. A database that can only be
 * read will do for one that has its place.
 *
 * @throws DatabaseUnavailable
 */
export async function enrolSink(database: Database, name: string): Promise<void> {
  const [known] = await asService(database, (tx) =>
    tx.execute(sql`select from storage.event_sinks where name = ${name}`),
  )
  if (known === undefined) await sinkPosition(database, name, await orderEvents(database))
}

/** Moves a sink on, unless another server has. Returns whether it did. */
export async function advanceSink(
  database: Database,
  name: string,
  from: number,
  to: number,
): Promise<boolean> {
  const rows = await asService(database, (tx) =>
    tx.execute(sql`update storage.event_sinks set position = ${to}
      where name = ${name} and position = ${from} returning name`),
  )
  return rows.length > 0
}

/** Forgets up to `limit` events that are older than `ageMs`, the oldest first, and says how many. */
export async function trimEvents(database: Database, ageMs: number, limit: number): Promise<number> {
  await orderEvents(database)
  const [row] = await asService(database, (tx) =>
    tx.execute<{ count: number }>(sql`with first as (
        select o.position, o.event_id, e.created_at
        from storage.event_order o join storage.events e on e.id = o.event_id
        order by o.position limit ${limit}
      ),
      old as (select * from first where created_at < now() - ${ageMs} * interval '1 millisecond'),
      -- The newest position stays, since the count goes on from it; then it is one without an event.
      forgotten as (
        delete from storage.event_order
        where (position in (select position from old) or position < (select min(position) from first))
          and position < (select max(position) from storage.event_order)
      ),
      gone as (delete from storage.events where id in (select event_id from old) returning 1)
      select count(*)::int as count from gone`),
  )
  return row?.count ?? 0
}
