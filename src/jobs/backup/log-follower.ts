import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import type { SocketAddress } from '../../database/embedded/folder-owner.ts'
import { KeptLog, type LogState } from '../../database/embedded/kept-log.ts'
import { parsePosition } from '../../database/embedded/log-segments.ts'
import { holdRemovals, isHeld } from '../../database/queries/backup-holds.ts'
import { BackupError } from './backup-error.ts'
import { endHold, removeHeld, versionsHeldBy } from './held-removals.ts'
import { LOG, type LogStatus, readLogStatus, writeLogStatus, writeSegment } from './log-folder.ts'
import { LoggedVersions, type LoggedVersionsParts } from './logged-versions.ts'
import type { BackupTarget } from './target.ts'

export interface LogFollowerOptions {
  database: Database
  backend: Backend
  /** The embedded PostgreSQL. */
  cluster: { address: SocketAddress; folder: string }
  openTarget(): Promise<BackupTarget>
  copyBytes: LoggedVersionsParts['copyBytes']
  logger: Logger
  /** How often a segment ends that transactions have written to, in milliseconds: what is newer may be lost with the disk. */
  switchMs?: number
  /** After so long a transaction that has its time of commit is in the log, and everybody sees what it did. In milliseconds. */
  settleMs?: number
}

/** By this the follower holds removals. */
export const LOG_HOLD = 'log'

/** A round does no more. */
const MOST_SEGMENTS = 64
const MOST_REMOVALS = 10_000

/** So many segments behind, of 16 MiB each, are worth a warning. */
const FAR_BEHIND = 16

/**
 * Brings the log of the embedded PostgreSQL, and the bytes of the versions that it names, into the target, so that every second
 * of it can be restored (decision 0060). While it is on, bytes that rows have named are removed by it alone, once they are
 * in the log.
 *
 * Killed at any line, it begins again with what PostgreSQL still keeps, and with the events after its place.
 */
export class LogFollower {
  readonly #switchMs: number
  readonly #settleMs: number
  #following: Following | undefined
  #switched = { at: Number.NEGATIVE_INFINITY, transactions: '' }
  #notedAt = Number.NEGATIVE_INFINITY
  #isBehind = false

  constructor(private readonly options: LogFollowerOptions) {
    this.#switchMs = options.switchMs ?? 60_000
    this.#settleMs = options.settleMs ?? 10_000
  }

  /**
   * What there is to do now. The first call begins to follow. Returns whether there is more.
   *
   * @throws UnusableTarget, StorageFull, TargetUnavailable, DatabaseUnavailable, the signal's reason
   */
  async round(signal: AbortSignal): Promise<boolean> {
    const following = await this.#follow(signal)
    try {
      return await this.#round(following, signal)
    } catch (error) {
      await this.close() // the next round looks anew at what is there
      throw error
    }
  }

  async close(): Promise<void> {
    const following = this.#following
    this.#following = undefined
    await following?.log.close()
    await following?.target.close()
  }

  async #follow(signal: AbortSignal): Promise<Following> {
    if (this.#following?.log.lost.aborted) await this.close()
    if (this.#following) return this.#following
    const { database, cluster, openTarget, copyBytes, logger } = this.options
    const target = await openTarget()
    let log: KeptLog | undefined
    try {
      log = await KeptLog.open(cluster.address, cluster.folder)
      const known = await readLogStatus(target)
      if (known !== null && known.system_identifier !== log.systemIdentifier) {
        throw new BackupError(
          'UnusableTarget',
          `${target.name} has the log of another database: give this one another target`,
        )
      }
      // It may have been killed while it wrote.
      await target.removeUnfinished(`${LOG}/`)
      // Bytes stay from here on, then events are listened to, then the log is kept: what it has is of events that are heard.
      if (!(await isHeld(database, LOG_HOLD))) {
        await holdRemovals(database, { name: LOG_HOLD, job: null }, { signal })
      }
      const versions = await LoggedVersions.open({ database, target, copyBytes, logger }, known?.last_list)
      const isNew = await log.keep()
      const { from, timeline } = await log.look()
      const hasGap = isNew || known === null || isBefore(known.next, from)
      const begun = { system_identifier: log.systemIdentifier, since: from, next: from, until: null }
      if (hasGap) {
        const says = 'the log of the database is archived: any second from the next backup on can be restored'
        logger.info({ target: target.name }, says)
      }
      const status: LogStatus = { ...(hasGap ? begun : known), timeline }
      this.#following = { target, log, status, versions, looks: [] }
      return this.#following
    } catch (error) {
      await log?.close()
      await target.close()
      throw error
    }
  }

  async #round(following: Following, signal: AbortSignal): Promise<boolean> {
    const { log, looks, versions } = following
    const { database } = this.options

    // 1. Where the log is. What transactions have written does not wait for a segment to fill.
    const look = await log.look()
    looks.push(look)
    const switched = this.#switched
    if (performance.now() - switched.at >= this.#switchMs && look.transactions !== switched.transactions) {
      await log.switch()
      this.#switched = { at: performance.now(), transactions: look.transactions }
    }

    // 2. What is to be removed by now: it has come up, and gone, in events that are read next at the latest.
    const removals = await versionsHeldBy(database, LOG_HOLD, MOST_REMOVALS)

    // 3. The bytes of what has come up.
    const hasAll = await versions.copy(signal)

    // 4. The log as far as it was complete a while ago: what happened in it has been seen by now. The list of versions first.
    const settled = looks.findLast(({ time }) => look.time.getTime() - time.getTime() >= this.#settleMs)
    const complete = hasAll && settled ? log.segments({ ...settled, from: look.from }) : []
    const segments = complete.slice(0, MOST_SEGMENTS)
    if (segments.length > 0 || !hasAll) await versions.writeList()
    for (const { name, end } of segments) {
      signal.throwIfAborted()
      await this.#move(following, name, end)
    }
    await this.#noteStatus(following, look, segments.length > 0)
    // Behind the note: should we be killed in between, segments are written again, and found to be there.
    if (segments.length > 0) await log.release(following.status.next)
    this.#tell(log.segments(look).length - segments.length)

    // 5. What nobody needs any more.
    if (versions.areListed && removals.size > 0) {
      await removeHeld(this.options, { hold: LOG_HOLD, versions: removals }, signal)
    }
    return !hasAll || segments.length < complete.length
  }

  async #move({ target, log, status }: Following, segment: string, end: string): Promise<void> {
    for (const name of [...(await log.histories()), segment]) {
      await writeSegment(target, name, await log.read(name))
    }
    status.next = end
  }

  /**
   * Until when all that was committed is in the log: by then what had a time of commit `settleMs` ago was written, and what was
   * written is in a segment that is there; or no transaction has ended since.
   */
  async #noteStatus(following: Following, look: LogState, hasMoved: boolean): Promise<void> {
    const { target, status, looks, versions } = following
    const isThere = ({ to }: LogState) => isBefore(to, status.next)
    const last = looks.findLast(isThere)
    const covered = last?.transactions === look.transactions ? look : last
    if (covered) {
      const until = new Date(covered.time.getTime() - this.#settleMs).toISOString()
      if (until > (status.until ?? '')) status.until = until
    }
    // Of those that say the same of the log, the last one says most.
    const isOld = ({ time }: LogState) => look.time.getTime() - time.getTime() >= this.#settleMs
    following.looks = looks.filter((one, index) => {
      const next = looks[index + 1]
      if (isThere(one)) return one === last
      return next === undefined || !isOld(next) || next.to !== one.to
    })
    if (!hasMoved && performance.now() - this.#notedAt < this.#switchMs) return
    const { lastList } = versions
    await writeLogStatus(target, { ...status, ...(lastList > 0 && { last_list: lastList }) })
    this.#notedAt = performance.now()
  }

  /** One line when it falls behind, and one when it has caught up. */
  #tell(segments: number): void {
    const { logger } = this.options
    if (segments > FAR_BEHIND && !this.#isBehind) {
      logger.warn(
        { segments },
        'the log grows faster than it is archived, and fills the disk of the database',
      )
    }
    if (segments <= 1 && this.#isBehind) logger.info('the log is archived as far as it goes')
    this.#isBehind = segments > FAR_BEHIND || (this.#isBehind && segments > 1)
  }
}

/** What is known while the log is followed. */
interface Following {
  target: BackupTarget
  log: KeptLog
  status: LogStatus
  versions: LoggedVersions
  /** The last ones, in order. */
  looks: LogState[]
}

function isBefore(position: string, other: string): boolean {
  return parsePosition(position) < parsePosition(other)
}

/**
 * Ends what a follower has left behind, where the log is not wanted any more: nothing is kept, and removals are carried out as
 * ever.
 *
 * @throws DatabaseUnavailable
 */
export async function forgetLog(
  parts: Pick<LogFollowerOptions, 'database' | 'backend' | 'logger'> & {
    findCluster(): Promise<LogFollowerOptions['cluster'] | null>
  },
  signal: AbortSignal,
): Promise<void> {
  if (!(await isHeld(parts.database, LOG_HOLD))) return
  const cluster = await parts.findCluster()
  if (cluster === null) return // another's
  const log = await KeptLog.open(cluster.address, cluster.folder)
  await log.forget().finally(() => log.close())
  await endHold(parts, LOG_HOLD, signal)
}
