import { sql } from 'drizzle-orm'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { type LastSuccess, lastBackups } from './backup-outcomes.ts'

/** Whose turn these questions take among those for lists and statistics, so that no request waits for them (decision 0067). */
const ASKER = 'metrics'

/** Of the sinks of events, those that are furthest behind. */
const MOST_SINKS = 100

export interface SinkLag {
  sink: string
  /** That it has not got. */
  events: number
  /** Since the first of these, in seconds. */
  seconds: number
}

/** What there is to be done, and when what a server does by itself was done last. */
export interface OperationalState {
  lags: SinkLag[]
  pending: number
  dead: number
  resumable: number
  /** In bytes. */
  resumableSize: number
  scrub: ScrubResult | null
  /** Null when none was ever completed. */
  backup: LastSuccess | null
  drill: LastSuccess | null
}

interface ScrubResult {
  /** In seconds since 1970; null as long as there was none. */
  finishedAt: number | null
  checked: number
  total: number
  corrupted: number
  missing: number
}

/** Looks at small tables, and at no more than so much of large ones. @throws DatabaseTimeout, DatabaseUnavailable */
export function readOperationalState(database: Database): Promise<OperationalState> {
  return database.questions.ask(ASKER, async (connection) => {
    const state = await asService(connection, async (tx) => {
      const lags = await tx.execute<{ sink: string; events: number; seconds: number }>(sql`
        select s.name as sink, greatest(0, newest.position - s.position)::float8 as events,
          coalesce(extract(epoch from now() - e.created_at), 0)::float8 as seconds
        from storage.event_sinks s
        cross join (select coalesce(max(position), 0) as position from storage.event_order) newest
        left join lateral (
          select event_id from storage.event_order o where o.position > s.position order by o.position limit 1
        ) next on true
        left join storage.events e on e.id = next.event_id
        order by events desc, sink limit ${MOST_SINKS}`)
      const [deliveries] = await tx.execute<{ pending: number; dead: number }>(sql`
        select count(*) filter (where state = 'pending')::float8 as pending,
          count(*) filter (where state = 'dead')::float8 as dead
        from storage.webhook_deliveries`)
      const [uploads] = await tx.execute<{ count: number; size: number }>(sql`
        select count(*)::float8 as count, coalesce(sum(upload_offset), 0)::float8 as size
        from storage.resumable_uploads where ended is null and expires_at > now()`)
      const [parts] = await tx.execute<{ size: number }>(sql`
        select coalesce(sum(p.size), 0)::float8 as size from storage.s3_multipart_uploads_parts p
        where p.notes is not null`)
      // The one that a server makes by itself, and the last that somebody has made of all buckets.
      const scrubs = await tx.execute<Record<keyof ScrubResult | 'scope', never>>(sql`
        select scope, extract(epoch from finished_at)::float8 as "finishedAt", checked::float8, total::float8,
          corrupted::float8, missing::float8
        from storage.scrubs where scope in ('', '/') order by scope`)
      return {
        lags: lags.map(({ sink, events, seconds }) => ({ sink, events, seconds: events > 0 ? seconds : 0 })),
        pending: deliveries?.pending ?? 0,
        dead: deliveries?.dead ?? 0,
        resumable: uploads?.count ?? 0,
        resumableSize: (uploads?.size ?? 0) + (parts?.size ?? 0),
        scrub: newestScrub(scrubs as unknown as ScrubResult[]),
      }
    })
    return { ...state, ...(await lastBackups(connection)) }
  })
}

/** What was found by the one that has come further, and when any of them was through. */
function newestScrub(scrubs: ScrubResult[]): ScrubResult | null {
  const [first] = scrubs
  if (!first) return null
  const ends = scrubs.flatMap(({ finishedAt }) => finishedAt ?? [])
  return { ...first, finishedAt: ends.length === 0 ? null : Math.max(...ends) }
}

export interface BucketUsage {
  /** Null for all that are not among the largest. */
  bucket: string | null
  objects: number
  /** Of their objects, in bytes. */
  size: number
  /** What was there before: versions that are not the current one, and what is in the trash. */
  versions: number
  /** Of these, in bytes. */
  versionSize: number
  /** Of what is in the trash alone, in bytes. */
  trashSize: number
}

/**
 * How much there is in each bucket, for the largest; all others together. Reads every row, so it is for who asks seldom, and
 * has the little time that lists have.
 *
 * @throws DatabaseTimeout, DatabaseUnavailable
 */
export async function readUsage(database: Database, mostBuckets: number): Promise<BucketUsage[]> {
  return database.questions.ask(ASKER, (connection) =>
    asService(connection, async (tx) => {
      const rows = await tx.execute<Record<keyof BucketUsage, never>>(sql`
        with usage as (
          select bucket_id, count(*) as objects, sum(
            case when jsonb_typeof(metadata -> 'size') = 'number' then (metadata ->> 'size')::numeric else 0 end
          ) as size
          from storage.objects group by bucket_id
        ), before as (
          select bucket_id, count(*) as versions, coalesce(sum(v.size), 0) as size,
            coalesce(sum(v.size) filter (where kind = 'trash'), 0) as trash
          from storage.object_versions v where not is_delete_marker group by bucket_id
        ), ranked as (
          select b.id, coalesce(objects, 0) as objects, coalesce(u.size, 0) as size, coalesce(versions, 0) as versions,
            coalesce(f.size, 0) as version_size, coalesce(f.trash, 0) as trash_size,
            row_number() over (order by coalesce(u.size, 0) + coalesce(f.size, 0) desc, b.id) as rank
          from storage.buckets b left join usage u on u.bucket_id = b.id left join before f on f.bucket_id = b.id
        )
        select case when rank <= ${mostBuckets} then id end as bucket, sum(objects)::float8 as objects,
          sum(size)::float8 as size, sum(versions)::float8 as versions, sum(version_size)::float8 as "versionSize",
          sum(trash_size)::float8 as "trashSize"
        from ranked group by 1`)
      return rows as unknown as BucketUsage[]
    }),
  )
}
