import { createHash } from 'node:crypto'
import type postgres from '#postgres'
import type { Backend } from '../../../src/backend/backend.ts'
import { forEachConcurrent } from '../../../src/lib/concurrency.ts'
import { INLINE_BUCKET, type Location } from '../../../src/model/location.ts'
import { type Entry, type History, type Keeping, settled, told } from './history.ts'
import type { Place } from './requests.ts'

const READS_AT_ONCE = 8
/** Whoever compares often compares other ones each time. */
const MOST_READ = 1000

/** A row of what is there, or was. */
export interface Row extends Entry {
  id: string
  /** Of a marker null, and so is its size. */
  bytesBucket: string | null
  size: number | null
  mark: string | null
  /** Of those of its name, from 1. */
  number: number
  /** When it was there, in microseconds. */
  since: number
  until: number
}

/** What the rows say that each name has, by its path, the newest first. */
export async function findHistories(sql: postgres.Sql): Promise<Map<string, Row[]>> {
  const rows = await sql<(Row & { path: string })[]>`
    select bucket_id || '/' || name as path, 'object' as kind, checksum as sha256, version as id,
      bytes_bucket as "bytesBucket", (metadata ->> 'size')::float8 as size, quarantine_reason as mark,
      version_number as number, (extract(epoch from current_since) * 1000000)::float8 as since, 'infinity'::float8 as until,
      9223372036854775807 as place
    from storage.objects
    union all
    select bucket_id || '/' || name, case kind when 'delete_marker' then 'marker' else kind end, checksum, version,
      bytes_bucket, size::float8, quarantine_reason, version_number, (extract(epoch from valid_from) * 1000000)::float8,
      (extract(epoch from archived_at) * 1000000)::float8, sequence
    from storage.object_versions
    order by path, place desc`
  const histories = new Map<string, Row[]>()
  for (const { path, ...row } of rows) histories.set(path, [...(histories.get(path) ?? []), row])
  return histories
}

/** Names that are not what their writers were told; once all that is due was taken away, and what rules are about. */
export function differences(
  found: ReadonlyMap<string, readonly Row[]>,
  {
    possible,
    keeping,
  }: { possible: ReadonlyMap<string, readonly History[]>; keeping: ReadonlyMap<string, Keeping> },
): string[] {
  return [...new Set([...found.keys(), ...possible.keys()])].flatMap((path) => {
    const is = found.get(path) ?? []
    const kept = keeping.get(path.split('/', 1)[0] ?? '')
    if (kept === undefined) return [] // somebody else's
    const may = (possible.get(path) ?? [[]]).map((history) => settled(history, kept))
    const same = may.filter((history) => told(history) === told(is))
    if (same.length === 0) return [`${path} is\n${told(is)}\nand not\n${may.map(told).join('\nor\n')}`]
    const hasIds = (history: History) => history.every(({ id }, at) => id === undefined || id === is[at]?.id)
    const ids = (history: History) => history.map(({ id }) => id).join(' ')
    return same.some(hasIds) ? [] : [`${path} has ${ids(is)}, and not ${same.map(ids).join(' or ')}`]
  })
}

/** What is not read as its row says it, by its id and by a moment at which it was there: of many, some. */
export async function unreadable(
  found: ReadonlyMap<string, readonly Row[]>,
  place: Place,
): Promise<string[]> {
  const wrong: string[] = []
  const all = [...found].flatMap(([path, rows]) =>
    rows.flatMap((row, at) => readings(path, row, rows[at - 1])),
  )
  const step = Math.ceil(all.length / MOST_READ)
  const first = Math.floor(Math.random() * step)
  const some = all.filter((_, at) => at % step === first)
  await forEachConcurrent(READS_AT_ONCE, some, async ({ target, what, sha256: told }) => {
    const response = await fetch(`${place.url}${target}`, {
      headers: { authorization: `Bearer ${place.token}` },
    })
    const bytes = new Uint8Array(await response.arrayBuffer())
    const is = response.status === 200 ? sha256(bytes) : response.status
    if (is !== (told ?? 404)) wrong.push(`${what}: ${target} is ${is}, and not ${told}`)
  })
  return wrong
}

/** How one can be asked for. @param next that has its name after it */
function readings(path: string, { kind, id, sha256, since }: Row, next: Row | undefined) {
  const target = `/object/${path}`
  const what = kind
  // A moment is of whole milliseconds.
  const millisecond = Math.ceil(since / 1000)
  const isSeen = next === undefined || millisecond * 1000 < next.since
  return [
    // What is in the trash has no id to be read by.
    ...(kind === 'trash' ? [] : [{ what, sha256, target: `${target}?versionId=${id}` }]),
    ...(isSeen ? [{ what, sha256, target: `${target}?at=${new Date(millisecond).toISOString()}` }] : []),
  ]
}

type Read = (at: Location, size: number) => Promise<Uint8Array>

/** From the database what is there, and all else from where it is kept. */
export function readingInline(sql: postgres.Sql, outside: Pick<Backend, 'readWhole'>): Read {
  return async (at, size) => {
    if (at.bucket !== INLINE_BUCKET) return outside.readWhole(at, size)
    const [row] = await sql<{ bytes: Uint8Array }[]>`
      select bytes from storage.inline_bytes where version = ${at.version}`
    if (row === undefined) throw new Error('not in the database')
    return row.bytes
  }
}

/** Rows whose bytes are missing or others, or that are marked as damaged, whatever somebody may ask for. */
export async function damaged(found: ReadonlyMap<string, readonly Row[]>, read: Read): Promise<string[]> {
  const wrong: string[] = []
  await forEachConcurrent(READS_AT_ONCE, [...found.values()].flat(), async (row) => {
    const { kind, id, bytesBucket, size, mark } = row
    if (kind === 'marker') return
    const bytes = await read({ bucket: String(bytesBucket), version: id }, Number(size)).catch(String)
    if (mark !== null || typeof bytes === 'string' || sha256(bytes) !== row.sha256) {
      wrong.push(`${JSON.stringify(row)}: ${typeof bytes === 'string' ? bytes : 'other bytes'}`)
    }
  })
  return wrong
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
