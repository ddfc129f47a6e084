/**
 * The write-ahead log of the embedded PostgreSQL, which it keeps until we have it elsewhere (decision 0060).
 *
 * A physical replication slot says from where on. It is in the cluster's folder, so it holds whoever starts PostgreSQL, and
 * over any crash: no segment goes that was not released.
 */

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { directly } from '../connection/place.ts'
import { openSession, type Session } from '../connection/session.ts'
import { DATABASE, type SocketAddress, SUPERUSER } from './folder-owner.ts'
import { HISTORY, parsePosition, segmentsBetween, timelineOf } from './log-segments.ts'

/** The log as it is at one moment. */
export interface LogState {
  /** By the database's clock. */
  time: Date
  /** Changes when a transaction that has written ends. */
  transactions: string
  timeline: number
  /** Where what is kept begins: at the begin of a segment. */
  from: string
  /** Where the segment begins that is being written. Those before are complete. */
  to: string
}

export const SLOT = 'strongroom_log'

export class KeptLog {
  private constructor(
    private readonly session: Session,
    private readonly folder: string,
    private readonly segmentBytes: number,
    /** Tells this cluster, and its copies, from all others. */
    readonly systemIdentifier: string,
  ) {}

  /** @param folder the cluster @throws what the driver throws */
  static async open(address: SocketAddress, folder: string): Promise<KeptLog> {
    const { host, port } = address
    const session = await openSession(
      directly({ host, port, database: DATABASE, username: SUPERUSER }).sessions,
    )
    try {
      const [row] = await session.sql<[{ bytes: string; identifier: string }]>`
        select pg_size_bytes(current_setting('wal_segment_size'))::text as bytes, system_identifier::text as identifier
        from pg_control_system()`
      return new KeptLog(session, folder, Number(row.bytes), row.identifier)
    } catch (error) {
      await session.close()
      throw error
    }
  }

  /** Aborted when the connection is lost. */
  get lost(): AbortSignal {
    return this.session.lost
  }

  /** Lets PostgreSQL keep the log from now on. Returns false when it did already. */
  async keep(): Promise<boolean> {
    const [row] = await this.session.sql`
      select pg_create_physical_replication_slot(${SLOT}, true) where not exists (
        select from pg_replication_slots where slot_name = ${SLOT})`
    return row !== undefined
  }

  async look(): Promise<LogState> {
    const [row] = await this.session.sql<
      [{ from: string; transactions: string; time: number; written: string }]
    >`
      select (extract(epoch from statement_timestamp()) * 1000)::float8 as time, pg_snapshot_xmax(pg_current_snapshot())::text as transactions,
        restart_lsn::text as from, pg_current_wal_flush_lsn()::text as written
      from pg_replication_slots where slot_name = ${SLOT}`
    const [{ segment }] = await this.session.sql<[{ segment: string }]>`
      select pg_walfile_name(pg_current_wal_insert_lsn()) as segment`
    const size = BigInt(this.segmentBytes)
    return {
      time: new Date(row.time),
      transactions: row.transactions,
      timeline: timelineOf(segment),
      from: formatPosition((parsePosition(row.from) / size) * size),
      to: formatPosition((parsePosition(row.written) / size) * size),
    }
  }

  /** Ends the segment that is being written, if it has begun. */
  async switch(): Promise<void> {
    await this.session.sql`select pg_switch_wal()`
  }

  /** The segments of a part of the log, in order, with the position behind each. */
  segments({
    from,
    to,
    timeline,
  }: Pick<LogState, 'from' | 'to' | 'timeline'>): { name: string; end: string }[] {
    const size = BigInt(this.segmentBytes)
    const first = parsePosition(from) / size
    return segmentsBetween(from, to, timeline, this.segmentBytes).map((name, index) => ({
      name,
      end: formatPosition((first + BigInt(index) + 1n) * size),
    }))
  }

  /** Where this timeline and those before have left others. */
  async histories(): Promise<string[]> {
    return (await readdir(join(this.folder, 'pg_wal'))).filter((name) => HISTORY.test(name))
  }

  /** A segment or a history. */
  read(name: string): Promise<Buffer> {
    return readFile(join(this.folder, 'pg_wal', name))
  }

  /** Lets PostgreSQL forget what lies before a position. */
  async release(position: string): Promise<void> {
    await this.session.sql`select pg_replication_slot_advance(${SLOT}, ${position}::pg_lsn)`
  }

  /** Nothing is kept any more. */
  async forget(): Promise<void> {
    await this.session.sql`
      select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = ${SLOT}`
  }

  close(): Promise<void> {
    return this.session.close()
  }
}

/** As PostgreSQL writes it. */
function formatPosition(position: bigint): string {
  return [position >> 32n, position & 0xffff_ffffn].map((half) => half.toString(16).toUpperCase()).join('/')
}
