/**
 * A physical copy of the embedded PostgreSQL while it runs (decision 0060), as pg_basebackup makes one, which is not
 * among the embedded programs. https://www.postgresql.org/docs/18/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP
 *
 * The files are read while they change under our hands, and are no state of the database by themselves. The log from the
 * begin of the copy to its end makes one of them: it has each page whole when it is first written to after the begin, so
 * a torn one is repaired, and it has whatever happened to a file that is missing or too short.
 */

import { type FileHandle, open, readdir } from 'node:fs/promises'
import { endianness } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type postgres from '#postgres'
import { forEachConcurrent } from '../../lib/concurrency.ts'
import { directly } from '../connection/place.ts'
import { openSession } from '../connection/session.ts'
import { type ClusterFile, CONTROL_FILE, listCluster, whenGone } from './cluster-files.ts'
import { EmbeddedPostgresError } from './embedded-error.ts'
import { DATABASE, type SocketAddress, SUPERUSER } from './folder-owner.ts'
import { HISTORY, segmentsBetween, timelineOf } from './log-segments.ts'

export interface OnlineCopyOptions {
  /** Where the running PostgreSQL listens. */
  address: SocketAddress
  /** Its cluster. */
  folder: string
  /** What the moment that is restored is to be called: at most 63 bytes, and no other's name. */
  restorePoint: string
  /** Folders of ours in the cluster that are not the database's. */
  leftOut?: ReadonlySet<string>
  /**
   * Stores one file of the copy, `database/…` or `wal/…`, and resolves when that is done. Is called for some files at
   * once. The stream fails when the copy does; it is destroyed when `write` has ended.
   */
  write(path: string, content: Readable): Promise<unknown>
  /** Hears of each piece, before it is given on, and may let it wait. */
  pace?(bytes: number): Promise<void>
  /** Hears how far it is, of about how much. In bytes. */
  onProgress?(done: number, total: number): void
  signal: AbortSignal
}

/** What a recovery, and whoever describes the copy, must know of it. */
export interface OnlineCopy {
  /** PostgreSQL's version, `18.4`. */
  postgres: string
  /** Tells this cluster, and its copies, from all others. */
  systemIdentifier: string
  timeline: number
  /** Where the log is read from, `0/2000028`. */
  startLsn: string
  /** From here on the files are a state of the database. */
  endLsn: string
  /** Its name in the log, a little later. */
  restorePoint: string
  /** Where that is: what was committed before is in what is restored. */
  restorePointLsn: string
  /** The cluster's folders, each behind the one that it is in. Some have no files. */
  directories: string[]
  /** Of all files that were written, in bytes. */
  bytes: number
}

/** How much is read at once, in bytes. */
const PIECE_SIZE = 256 * 1024

/** A target may flush each file, or be far away, and a cluster is a thousand small ones. */
const FILES_AT_ONCE = 4

/**
 * Copies the cluster and the log that belongs to it. Nothing of it outlives its session in PostgreSQL: if we are killed,
 * no log is kept for us any more.
 *
 * @throws EmbeddedPostgresError when this cluster cannot be copied; what `write` throws; what the database does
 */
export async function copyOnline(options: OnlineCopyOptions): Promise<OnlineCopy> {
  const address = { ...options.address, database: DATABASE, username: SUPERUSER }
  const session = await openSession(directly(address).sessions)
  try {
    // The driver would connect again, but the backup would be over.
    const signal = AbortSignal.any([options.signal, session.lost])
    return await new Copying(session.sql, { ...options, signal }).run()
  } catch (error) {
    if (session.lost.aborted && !options.signal.aborted) {
      throw new EmbeddedPostgresError('PostgreSQL ended while it was copied: begin again', { cause: error })
    }
    throw error
  } finally {
    await session.close()
  }
}

class Copying {
  #done = 0
  #total = 0

  constructor(
    private readonly sql: postgres.Sql,
    private readonly options: OnlineCopyOptions,
  ) {}

  async run(): Promise<OnlineCopy> {
    const { sql, options } = this
    const { folder, restorePoint, signal } = options
    // A checkpoint takes as long as the disk does, and a copy as long as its target.
    await sql.unsafe('set statement_timeout = 0; set idle_session_timeout = 0')

    // 1. The right cluster, all in one folder.
    const { version, identifier, segmentBytes } = await this.#look()

    // 2. From here on the log is kept, and has each page whole.
    await sql`select pg_create_physical_replication_slot('strongroom_copy_' || pg_backend_pid(), true, true)`
    const [begun] = await sql<[{ lsn: string; segment: string }]>`
      select lsn, pg_walfile_name(lsn) as segment from pg_backup_start(${restorePoint}, fast => true) as lsn`
    const timeline = timelineOf(begun.segment)

    // 3. The files, as they are when we come by.
    const { files, directories } = await listCluster(folder, options.leftOut ?? new Set())
    this.#total = files.reduce((sum, { size }) => sum + size, 0)
    await forEachConcurrent(FILES_AT_ONCE, files, (file) => this.#copy(file, 'database'))
    await this.#write(`database/${CONTROL_FILE}`, await readControlFile(folder))

    // 4. What tells a recovery where to begin.
    const [ended] = await sql<[{ lsn: string; labelfile: string }]>`
      select lsn, labelfile from pg_backup_stop(wait_for_archive => false)`
    await this.#write('database/backup_label', Buffer.from(ended.labelfile))

    // 5. The moment that is restored. The switch flushes the log, and lets its segment change no more.
    const [point] = await sql<[{ lsn: string }]>`select pg_create_restore_point(${restorePoint}) as lsn`
    await sql`select pg_switch_wal()`

    // 6. The log up to there.
    const histories = (await readdir(join(folder, 'pg_wal'))).filter((name) => HISTORY.test(name))
    const segments = segmentsBetween(begun.lsn, point.lsn, timeline, segmentBytes)
    this.#total += segments.length * segmentBytes
    for (const name of [...histories, ...segments]) {
      signal.throwIfAborted()
      await this.#copy({ path: `pg_wal/${name}`, size: segmentBytes }, 'wal')
    }
    return {
      postgres: version,
      systemIdentifier: identifier,
      timeline,
      startLsn: begun.lsn,
      endLsn: ended.lsn,
      restorePoint,
      restorePointLsn: point.lsn,
      directories,
      bytes: this.#done,
    }
  }

  async #look(): Promise<{ version: string; identifier: string; segmentBytes: number }> {
    const [row] = await this.sql<
      [{ version: string; identifier: string; segmentBytes: string; tablespaces: string | null }]
    >`
      select current_setting('server_version') as version, system_identifier::text as identifier,
        pg_size_bytes(current_setting('wal_segment_size'))::text as "segmentBytes",
        (select string_agg(spcname, ', ' order by spcname) from pg_tablespace
          where spcname not in ('pg_default', 'pg_global')) as tablespaces
      from pg_control_system()`
    const { folder } = this.options
    if (row.tablespaces !== null) {
      throw new EmbeddedPostgresError(
        `The database in ${folder} has tablespaces (${row.tablespaces}), whose files are elsewhere and are not copied: move what is in them back (alter table … set tablespace pg_default), and drop them`,
      )
    }
    if (identifierIn(await readControlFile(folder)) !== row.identifier) {
      throw new EmbeddedPostgresError(`${folder} is not the folder of the PostgreSQL that answers`)
    }
    return { ...row, segmentBytes: Number(row.segmentBytes) }
  }

  /** Copies a file, unless it has gone: that is in the log, too. */
  async #copy({ path, size }: ClusterFile, into: 'database' | 'wal'): Promise<void> {
    const { folder, write, signal } = this.options
    signal.throwIfAborted()
    const file = await open(join(folder, path)).catch(into === 'database' ? whenGone(undefined) : fail)
    if (file === undefined) return
    const content = Readable.from(this.#pieces(file, size), { objectMode: false, signal })
    content.on('error', () => {}) // also once nobody reads it any more
    try {
      const name = into === 'wal' ? path.slice('pg_wal/'.length) : path
      await write(`${into}/${name}`, content)
      signal.throwIfAborted()
    } finally {
      content.destroy()
      await file.close()
    }
  }

  /** A file to its end, but no further than where that was at first. */
  async *#pieces(file: FileHandle, size: number): AsyncGenerator<Buffer> {
    for (let position = 0; position < size; ) {
      const length = Math.min(PIECE_SIZE, size - position)
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, position)
      if (bytesRead === 0) return
      position += bytesRead
      await this.options.pace?.(bytesRead)
      this.#count(bytesRead)
      yield buffer.subarray(0, bytesRead)
    }
  }

  async #write(path: string, content: Buffer): Promise<void> {
    await this.options.write(path, Readable.from([content]))
    this.#count(content.length)
    this.options.signal.throwIfAborted()
  }

  #count(bytes: number): void {
    this.#done += bytes
    this.options.onProgress?.(this.#done, Math.max(this.#done, this.#total))
  }
}

/**
 * The file that PostgreSQL writes anew in its place. Some file systems let a reader see half of that, so it is read until
 * it was the same twice.
 */
async function readControlFile(folder: string): Promise<Buffer> {
  const file = await open(join(folder, CONTROL_FILE))
  try {
    const read = async () => {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(CONTROL_FILE_SIZE), 0, CONTROL_FILE_SIZE, 0)
      return buffer.subarray(0, bytesRead)
    }
    for (let before = await read(); ; ) {
      const now = await read()
      if (now.equals(before)) return now
      before = now
    }
  } finally {
    await file.close()
  }
}

/** In bytes (src/include/catalog/pg_control.h). */
const CONTROL_FILE_SIZE = 8192

/** The first number in it. */
function identifierIn(controlFile: Buffer): string {
  return String(endianness() === 'LE' ? controlFile.readBigUInt64LE(0) : controlFile.readBigUInt64BE(0))
}

function fail(error: unknown): never {
  throw error
}
