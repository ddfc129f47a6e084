import { sql } from 'drizzle-orm'
import { UUID } from '../../lib/uuid.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { textArray } from '../connection/row-values.ts'
import { ask } from './drift.ts'
import { NAMING_ROWS } from './naming-rows.ts'
import { isIn } from './objects-to-check.ts'

/** From which backend to which, by their names in the settings. */
export interface Direction {
  source: string
  target: string
}

/**
 * How far the move of all bytes to another backend has come. A pass goes through the objects and then their versions, in an
 * order, so that it can go on where it was interrupted; one pass after another, until one finds nothing to copy.
 */
export interface MoveState {
  /** The place of the last one that is done in this pass; null before the first. */
  position: string | null
  /** How many objects there were when the pass began. */
  total: number
  totalBytes: number
  /** Of these, how many the pass has done: copied, found there, or found not to be copyable. */
  done: number
  doneBytes: number
  /** What all passes have copied. */
  copied: number
  copiedBytes: number
  isFinished: boolean
}

/** The move that is under way, or the last one; null if there was none. */
export async function findMove(database: Database, { source, target }: Direction): Promise<MoveState | null> {
  const rows = await asService(database, (tx) =>
    tx.execute(sql`
      select position, total::float8, total_bytes::float8 as "totalBytes", done::float8,
        done_bytes::float8 as "doneBytes", copied::float8, copied_bytes::float8 as "copiedBytes",
        finished_at is not null as "isFinished"
      from storage.moves where source = ${source} and target = ${target}`),
  )
  return (rows[0] as MoveState | undefined) ?? null
}

/** Begins a move with its first pass, in the place of the last move; or the next pass of the one under way. */
export async function beginPass(
  database: Database,
  { source, target }: Direction,
  { isFirst }: { isFirst: boolean },
): Promise<MoveState> {
  const anew = sql`, started_at = now(), copied = 0, copied_bytes = 0`
  await asService(database, (tx) =>
    tx.execute(sql`
      insert into storage.moves (source, target, total, total_bytes)
      select ${source}, ${target}, count(*), coalesce(sum(size), 0)
      from ${NAMING_ROWS} n where version ~ ${UUID.source} and ${isIn('backend')}
      on conflict (source, target) do update set position = null, total = excluded.total,
        total_bytes = excluded.total_bytes, done = 0, done_bytes = 0, finished_at = null${isFirst ? anew : sql``}`),
  )
  const begun = await findMove(database, { source, target })
  if (!begun) throw new Error('a move that was begun is not there')
  return begun
}

/** Keeps how far a move has come. */
export async function saveMove(
  database: Database,
  { source, target }: Direction,
  state: MoveState,
): Promise<void> {
  await asService(database, (tx) =>
    tx.execute(sql`
      update storage.moves set position = ${state.position}, done = ${state.done}, done_bytes = ${state.doneBytes},
        copied = ${state.copied}, copied_bytes = ${state.copiedBytes},
        finished_at = ${state.isFinished ? sql`now()` : sql`null`}
      where source = ${source} and target = ${target}`),
  )
}

/**
 * Which of these versions no row names whose bytes are in the backend; none while a backup holds what rows have named. One look:
 * a hold that comes after it is for what rows name after it.
 */
export async function unnamedVersions(database: Database, versions: string[]): Promise<Set<string>> {
  const rows = await ask<{ version: string }>(
    database,
    sql`select v.version from unnest(${textArray(versions)}) v (version)
      where not exists (select from ${NAMING_ROWS} n where n.version = v.version and ${isIn('backend')})
        and not exists (select from storage.backup_holds)`,
  )
  return new Set(rows.map(({ version }) => version))
}

/** Which of these versions a row names whose bytes are in the backend. */
export async function namedVersions(database: Database, versions: string[]): Promise<Set<string>> {
  const rows = await asService(database, (tx) =>
    tx.execute(
      sql`select version from ${NAMING_ROWS} n where version = any (${textArray(versions)}) and ${isIn('backend')}`,
    ),
  )
  return new Set((rows as unknown as { version: string }[]).map(({ version }) => version))
}
