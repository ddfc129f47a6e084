import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Command, InvalidArgumentError } from 'commander'
import { type LiftedLock, type ListedLock, liftLock, listLocks } from '../database/queries/lifted-locks.ts'
import { isClosed } from './closed-pipe.ts'
import { asOwner } from './owner.ts'
import { table } from './sql/table.ts'

export function registerLock(program: Command): void {
  const lock = program
    .command('lock')
    .description('list what nobody removes before its time, and let a version go')
    .addHelpText(
      'after',
      `
Beside a running server or without one, as who owns the database. docs/versions.md says what a lock is. Of a version that was
let go the audit log has an entry, with the reason.`,
    )
  lock
    .command('list')
    .description('versions that are locked by themselves: until a moment, or by a hold')
    .argument('[bucket]')
    .action(list)
  lock
    .command('lift')
    .description('let one version go, whatever locks it: from then on it can be removed')
    .argument('<bucket/path>', 'whose version', place)
    .requiredOption('--version-id <id>', 'which one')
    .requiredOption('--reason <text>', 'why, for the audit log')
    .action(lift)
}

interface Place {
  bucket: string
  name: string
}

async function list(bucket: string | undefined): Promise<void> {
  await asOwner(async (sql) => {
    try {
      await pipeline(Readable.from(tablesOf(listLocks(sql, bucket, PAGE))), process.stdout, { end: false })
    } catch (error) {
      if (!isClosed(error)) throw error
    }
  })
}

/** So many are in one table: how wide it is depends on all of them. */
const PAGE = 1000

async function* tablesOf(pages: AsyncIterable<ListedLock[]>): AsyncIterable<string> {
  let hasSome = false
  for await (const locks of pages) {
    hasSome = true
    yield asTable(locks)
  }
  if (!hasSome) yield asTable([])
}

function asTable(locks: ListedLock[]): string {
  return table(
    COLUMNS.map((name) => ({ name, isNumber: false })),
    locks.map(({ bucket, name, version, ...lock }) => [bucket, name, version, said(lock)]),
  )
}

const COLUMNS = ['bucket', 'path', 'version', 'locked']

async function lift(
  { bucket, name }: Place,
  { versionId, reason }: { versionId: string; reason: string },
): Promise<void> {
  await asOwner(async (sql) => {
    const lifted = await liftLock(sql, { bucket, name, version: versionId }, reason)
    process.stdout.write(
      `Let go: version ${lifted.version} of ${bucket}/${name}, which was locked ${said(lifted)}.\n`,
    )
  })
}

function said({ legalHold, lockedUntil }: Pick<LiftedLock, 'legalHold' | 'lockedUntil'>): string {
  const until = lockedUntil === null ? [] : [`until ${lockedUntil.toISOString()}`]
  return [...until, ...(legalHold ? ['by a legal hold'] : [])].join(' and ')
}

function place(text: string): Place {
  const slash = text.indexOf('/')
  if (slash < 1 || slash === text.length - 1) throw new InvalidArgumentError('Use <bucket>/<path>.')
  return { bucket: text.slice(0, slash), name: text.slice(slash + 1) }
}
