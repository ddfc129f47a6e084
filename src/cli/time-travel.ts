import { randomUUID } from 'node:crypto'
import { userInfo } from 'node:os'
import { ConfigError } from '../config/config.ts'
import { writeAudit } from '../database/queries/audit.ts'
import type { NameAt } from '../database/queries/version-times.ts'
import { moment } from '../http/message/moment.ts'
import { noFailures, noteFailure } from '../jobs/failures.ts'
import { printable } from '../lib/printable.ts'
import type { Caller } from '../model/caller.ts'
import { StorageError } from '../model/errors.ts'
import { KnownBuckets } from '../storage/buckets/known-buckets.ts'
import { SecretSeal } from '../storage/credentials/secret-seal.ts'
import { TypeDetection } from '../storage/detection/type-detection.ts'
import { FileStorage } from '../storage/file-storage.ts'
import { PutGroups } from '../storage/inline/put-groups.ts'
import { type Reason, TimeTravel, type TimeTravelReport } from '../storage/time-travel.ts'
import { KnownSweep } from '../storage/uploads/known-sweep.ts'
import { RecentlyAllowed } from '../storage/uploads/recently-allowed.ts'
import { Heartbeats } from '../storage/writing/heartbeats.ts'
import { type AuditEntry, auditText } from '../telemetry/audit-entry.ts'
import { count } from './amounts.ts'
import { type Maintenance, maintain } from './maintenance.ts'
import { failureLines } from './move-run.ts'
import { Progress } from './progress.ts'

export interface TravelOptions {
  at: string
  /** What the names begin with where they are restored to. */
  to?: string | undefined
  dryRun?: boolean | undefined
}

/** Whoever has the database and the files. */
const SERVICE: Caller = {
  role: 'service_role',
  subject: null,
  claims: { role: 'service_role' },
  token: '',
  operation: 'storage.object.restore_version',
  method: '',
  path: '',
  headers: {},
  userBuckets: false,
}

/** Names of one call: between two, Ctrl-C ends it, and progress is shown. */
const PAGE = 200

const HEARTBEAT_MS = 10_000

/**
 * Brings names back to what they were, in a store that may be at work, and tells what has become of them.
 *
 * @param place `<bucket>/<prefix>`
 * @throws ConfigError, and as `TimeTravel.restore`
 */
export async function travel(place: string, { at: sent, to, dryRun = false }: TravelOptions): Promise<void> {
  const parsed = moment.safeParse(sent)
  if (!parsed.success) throw new ConfigError([`--at: ${sent} ${parsed.error.issues[0]?.message}`])
  const at = parsed.data
  const [bucket = ''] = place.split('/', 1)
  const prefix = place.slice(bucket.length + 1)
  const progress = new Progress()
  await maintain(async (parts) => {
    const { database, signal } = parts
    const seal = new SecretSeal([randomUUID()]) // its places are for this run alone
    const times = new TimeTravel({ database, files: openFiles(parts), now: () => new Date(), seal })
    const total: Total = {
      restored: 0,
      deleted: 0,
      unchanged: 0,
      unavailable: 0,
      sample: [],
      historySince: null,
    }
    let cursor: string | null | undefined
    let failure: unknown
    try {
      while (cursor !== null) {
        signal.throwIfAborted()
        const request = { bucket, prefix, at, to, dryRun, limit: PAGE, cursor }
        const report = await times.restore(SERVICE, 'strongroom restore', request)
        add(total, report)
        cursor = report.next
        progress.show(`${count(seen(total))} names`)
      }
    } catch (error) {
      failure = error
      throw error
    } finally {
      progress.clear()
      if (!dryRun) await tellAudit(parts, { bucket, prefix, to, at }, total, failure)
      if (signal.aborted) process.stdout.write('The next run finds done what is done.\n')
    }
    process.stdout.write(describe(total, { bucket, at, dryRun }))
    if (total.unavailable > 0) process.exitCode = 1
  })
}

function openFiles({ config, database, backend, logger }: Maintenance): FileStorage {
  return new FileStorage({
    database,
    backend,
    logger,
    maxFileSize: config.maxFileSize,
    inlineSize: config.inlineSize,
    verifyReads: config.verifyReads,
    nameRules: config.supabaseCompat ? 'supabase' : 'default',
    tellsOfHidden: config.supabaseCompat,
    trashDays: config.versions.trashDays,
    types: new TypeDetection(config.sniff),
    heartbeats: new Heartbeats({ database, logger, intervalMs: HEARTBEAT_MS }),
    knownBuckets: new KnownBuckets(database),
    knownSweep: new KnownSweep(database),
    recentlyAllowed: new RecentlyAllowed(),
    putGroups: new PutGroups(database),
    // Servers hear of it by its events; here nothing is kept in memory.
    invalidate: async () => {},
    rowCache: undefined,
    byteCache: undefined,
    now: () => new Date(),
  })
}

/** As of a request whose client has gone away. */
const INTERRUPTED = 499

/** Says in the audit log who has done what, and how much of it, also of a run that did not come to its end. */
async function tellAudit(
  { database, logger, signal }: Maintenance,
  { bucket, prefix, to, at }: { bucket: string; prefix: string; to: string | undefined; at: Date },
  { restored, deleted, unchanged, unavailable }: Total,
  failure: unknown,
): Promise<void> {
  const where = to === undefined ? '' : `, to ${to}`
  const ending = signal.aborted ? INTERRUPTED : failure instanceof StorageError ? failure.status : 500
  const entry: AuditEntry = {
    at: new Date().toISOString(),
    id: randomUUID(),
    action: 'restore',
    resource_type: 'object',
    user_id: login(),
    role: SERVICE.role,
    bucket: auditText(bucket),
    path: auditText(prefix),
    target: auditText(
      `as of ${at.toISOString()}${where}: ${restored} restored, ${deleted} deleted, ${unchanged} unchanged, ` +
        `${unavailable} not available`,
    ),
    allowed: true,
    status: failure === undefined ? 200 : ending,
    via: 'command',
    repeated: 0,
  }
  try {
    await writeAudit(database, [entry], (_, error) => {
      throw error
    })
  } catch (err) {
    logger.error({ err }, 'the audit log does not have an entry of this run')
    process.exitCode = 1
  }
}

/** Whose command it is, by the operating system. */
function login(): string {
  try {
    return userInfo().username
  } catch {
    return String(process.getuid?.()) // it has no name, as in a container
  }
}

type Total = Omit<TimeTravelReport, 'next'>

/** How many names a report has. */
const NAMED = 1000

function add(total: Total, { sample, historySince, next: _, ...counts }: TimeTravelReport): void {
  for (const key of ['restored', 'deleted', 'unchanged', 'unavailable'] as const) total[key] += counts[key]
  total.sample.push(...sample.slice(0, NAMED - total.sample.length))
  total.historySince = historySince
}

function seen({ restored, deleted, unchanged, unavailable }: Total): number {
  return restored + deleted + unchanged + unavailable
}

const WHY = {
  not_kept: 'what it was then is not kept any more, or never was',
  before_history: 'the bucket does not know what was there then',
  changed: 'it was changed meanwhile',
  would_be_lost: 'nothing would keep what is there now',
} satisfies Record<NonNullable<NameAt['reason']>, string>

function describe(
  total: Total,
  { bucket, at, dryRun }: { bucket: string; at: Date; dryRun: boolean },
): string {
  const { restored, deleted, unchanged, unavailable, sample, historySince } = total
  const failures = noFailures()
  const changed: string[] = []
  for (const { name, outcome, reason } of sample) {
    if (outcome === 'unavailable') noteFailure(failures, { bucketId: bucket, name }, explain(reason))
    else changed.push(`Would be ${outcome}: ${printable(`${bucket}/${name}`)}`)
  }
  failures.count = unavailable
  const would = dryRun ? 'Dry run, nothing was changed. It would be: ' : ''
  const lines = [
    `${would}${count(restored)} restored, ${count(deleted)} deleted, ${count(unchanged)} unchanged, ` +
      `${count(unavailable)} not available, as of ${at.toISOString()}.`,
    ...(dryRun ? changed : []),
    ...failureLines(failures, dryRun ? 'Not available' : 'Left as it is'),
  ]
  const others = restored + deleted - changed.length
  if (dryRun && others > 0) lines.push(`And ${count(others)} more.`)
  if (historySince && at < historySince) {
    lines.push(`What was deleted before ${historySince.toISOString()} may have left no trace.`)
  }
  return `${lines.join('\n')}\n`
}

function explain(reason: Reason | null): string {
  if (reason === null) return ''
  return isOurs(reason) ? WHY[reason] : new StorageError(reason).message
}

function isOurs(reason: Reason): reason is keyof typeof WHY {
  return reason in WHY
}
