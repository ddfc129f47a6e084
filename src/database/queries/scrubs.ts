import { sql } from 'drizzle-orm'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { NAMING_ROWS } from './naming-rows.ts'

/** What is scrubbed, and by whom: each goes on with its own only. */
export type ScrubScope =
  /** By hand: one bucket, by its id, or all. */
  | { bucket: string | undefined }
  /** By a server itself: all buckets. */
  | 'background'

/** How far a scrub has come. It goes through the objects and then their versions, in an order, so that it can go on. */
export interface ScrubState {
  /** The place of the last one that was checked; null before the first. */
  position: string | null
  /** How many objects there were when it began; as many as were checked if they have become more. */
  total: number
  checked: number
  /** Bytes read. */
  bytes: number
  corrupted: number
  missing: number
  /** Since it began, in milliseconds by the database's clock. */
  ageMs: number
  isFinished: boolean
}

/** The scrub that is under way, or the last one; null if there was none. */
export async function findScrub(database: Database, scope: ScrubScope): Promise<ScrubState | null> {
  const rows = await asService(database, (tx) =>
    tx.execute(sql`
      select position, total::float8, checked::float8, bytes::float8, corrupted::float8, missing::float8,
        (extract(epoch from now() - started_at) * 1000)::float8 as "ageMs", finished_at is not null as "isFinished"
      from storage.scrubs where scope = ${keyOf(scope)}`),
  )
  return (rows[0] as ScrubState | undefined) ?? null
}

/** Begins a scrub, in the place of the last one. */
export async function beginScrub(database: Database, scope: ScrubScope): Promise<ScrubState> {
  const bucket = scope === 'background' ? undefined : scope.bucket
  await asService(database, (tx) =>
    tx.execute(sql`
      insert into storage.scrubs as s (scope, total)
      select ${keyOf(scope)}, count(*) from ${NAMING_ROWS} n
      where ${bucket === undefined ? sql`true` : sql`bucket_id = ${bucket}`}
      on conflict (scope) do update set started_at = now(), position = null, total = excluded.total, checked = 0,
        bytes = 0, corrupted = 0, missing = 0, finished_at = null`),
  )
  const begun = await findScrub(database, scope)
  if (!begun) throw new Error('a scrub that was begun is not there')
  return begun
}

/** Keeps how far a scrub has come. */
export async function saveScrub(database: Database, scope: ScrubScope, state: ScrubState): Promise<void> {
  await asService(database, (tx) =>
    tx.execute(sql`
      update storage.scrubs set position = ${state.position}, total = ${state.total}, checked = ${state.checked},
        bytes = ${state.bytes}, corrupted = ${state.corrupted}, missing = ${state.missing},
        finished_at = ${state.isFinished ? sql`now()` : sql`null`}
      where scope = ${keyOf(scope)}`),
  )
}

function keyOf(scope: ScrubScope): string {
  // No bucket has these names (wire §2.2).
  return scope === 'background' ? '' : (scope.bucket ?? '/')
}
