import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import { openSnapshot, type VersionRow } from '../../database/dump/snapshot.ts'
import {
  advanceSink,
  oldestPosition,
  orderEvents,
  readEvents,
  type StorageEvent,
  sinkPosition,
} from '../../database/queries/events.ts'
import { placesOf } from '../../database/queries/logged-versions.ts'
import { forEachConcurrent } from '../../lib/concurrency.ts'
import { UUID } from '../../lib/uuid.ts'
import type { BytesEntry } from './entries.ts'
import { versionLists, writeVersions } from './log-folder.ts'
import type { BackupTarget } from './target.ts'

export interface LoggedVersionsParts {
  database: Database
  target: BackupTarget
  /** Brings the bytes of a version into the log, and says what they are; null when they are missing or damaged. */
  copyBytes(target: BackupTarget, row: VersionRow, signal: AbortSignal): Promise<BytesEntry | null>
  logger: Logger
}

/** By this the log has its place among the events. */
const SINK = 'backup-log'

const EVENTS_AT_ONCE = 500
const COPIES = 4

/** What these tell of has no bytes any more that anybody needs. */
const GONE = new Set<string>(['storage.object.deleted', 'storage.object.purged'])

/** No more are copied before they are on a list, so that it stays short. */
const MOST_VERSIONS = 20_000

/** The bytes of the versions that events tell of: copied into the log, and then named by a list. */
export class LoggedVersions {
  readonly #parts: LoggedVersionsParts
  /** The place among the events that PostgreSQL knows of. */
  #position: number
  /** The last event whose bytes are in the log. */
  #read: number
  /** Those that are on no list yet. */
  readonly #entries: BytesEntry[] = []
  #lastList: number

  private constructor(
    parts: LoggedVersionsParts,
    { position, lastList }: { position: number; lastList: number },
  ) {
    this.#parts = parts
    this.#position = position
    this.#read = position
    this.#lastList = lastList
  }

  /** From here on events are listened to. @param lastList as it was noted */
  static async open(parts: LoggedVersionsParts, lastList = 0): Promise<LoggedVersions> {
    const { database, target } = parts
    const position = await sinkPosition(database, SINK, await orderEvents(database))
    const newest = (await versionLists(target)).at(-1)?.time ?? 0
    return new LoggedVersions(parts, { position, lastList: Math.max(lastList, newest) })
  }

  /** The time of the newest list, in milliseconds since 1970; 0 while there is none. */
  get lastList(): number {
    return this.#lastList
  }

  /** Whether all that were copied are on a list. */
  get areListed(): boolean {
    return this.#entries.length === 0
  }

  /** Returns whether all that has happened was seen. */
  async copy(signal: AbortSignal): Promise<boolean> {
    const { database } = this.#parts
    const newest = await orderEvents(database)
    if ((await oldestPosition(database)) > this.#read + 1) {
      // Nobody has listened for longer than events are kept.
      await this.#copyAll(signal)
      this.#read = newest
    }
    while (this.#read < newest && this.#entries.length < MOST_VERSIONS) {
      signal.throwIfAborted()
      const events = await readEvents(database, this.#read, EVENTS_AT_ONCE)
      await this.#copy(await this.#rowsOf(events), signal)
      this.#read = events.at(-1)?.position ?? newest
    }
    return this.#read >= newest
  }

  /** The versions that have come up by events, and have bytes outside the database. */
  async #rowsOf(events: StorageEvent[]): Promise<VersionRow[]> {
    const made = new Map<string, StorageEvent>()
    for (const event of events) {
      const { type, version, oldVersion } = event
      // What becomes a version was an object's before, and has come up then.
      if (GONE.has(type) || type === 'storage.version.created') continue
      if (version === null || version === oldVersion) continue
      if (UUID.test(version)) made.set(version, event) // plain SQL may write anything there
    }
    if (made.size === 0) return []
    const places = await placesOf(this.#parts.database, [...made.keys()])
    return places.map(({ version, bucket }) => {
      const event = made.get(version)
      const { checksum = null, size = null } = event ?? {}
      return { version, bucket, checksum, size, isInline: false, object: `${event?.bucket}/${event?.path}` }
    })
  }

  async #copyAll(signal: AbortSignal): Promise<void> {
    const snapshot = await openSnapshot(this.#parts.database, { for: 'backup' })
    try {
      let page: VersionRow[] = []
      for await (const row of snapshot.versions()) {
        if (row.isInline || page.push(row) < EVENTS_AT_ONCE) continue
        await this.#copy(page, signal)
        page = []
        if (this.#entries.length >= MOST_VERSIONS) await this.writeList()
      }
      await this.#copy(page, signal)
    } finally {
      await snapshot.close()
    }
  }

  async #copy(rows: VersionRow[], signal: AbortSignal): Promise<void> {
    const { target, copyBytes, logger } = this.#parts
    await forEachConcurrent(COPIES, rows, async (row) => {
      const entry = await copyBytes(target, row, signal)
      if (entry) this.#entries.push(entry)
      else if (row.object !== null) {
        const about = { version: row.version, object: row.object }
        logger.error(about, 'bytes of an object are missing or damaged: the log does not have them')
      }
    })
  }

  /** Makes what was read, and copied, be known. */
  async writeList(): Promise<void> {
    const { database, target } = this.#parts
    if (!this.areListed) {
      const previous = this.#lastList
      const time = Math.max(Date.now(), previous + 1)
      await writeVersions(target, { time, previous }, this.#entries)
      this.#lastList = time
      this.#entries.length = 0
    }
    if (this.#read === this.#position) return
    if (!(await advanceSink(database, SINK, this.#position, this.#read))) {
      throw new Error('another server follows the log, too')
    }
    this.#position = this.#read
  }
}
