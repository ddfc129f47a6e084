import { z } from 'zod'
import type { EventRecord, StorageEvent } from '../../database/queries/events.ts'
import { StorageError } from '../../model/errors.ts'
import type { EventType } from '../../model/event-types.ts'
import { COLUMNS, type RecordFilter } from './postgres-filter.ts'
import type { SharedFilters } from './shared-filters.ts'

/** What a client asks for with `.on('postgres_changes', …)` (wire §10.3). */
export const askedChanges = z.object({
  event: z.string(),
  schema: z.string(),
  table: z.string().nullish(),
  filter: z.string().max(8192).nullish(),
  select: z.array(z.string()).max(COLUMNS.size).nullish(),
})
export type AskedChanges = z.infer<typeof askedChanges>

/** One subscription to changes of rows. */
interface Changes {
  id: number
  /** `*` is any. */
  event: string
  holds: RecordFilter['holds']
}

/** Subscriptions that get the same columns, so that one frame tells all of them. */
export interface ChangesGroup {
  columns: string[]
  members: Changes[]
}

/** Of one channel: for each another frame is made of every event. */
const MAX_COLUMN_SETS = 10

const CHANGES: Partial<Record<EventType, 'INSERT' | 'UPDATE' | 'DELETE'>> = {
  'storage.object.created': 'INSERT',
  'storage.object.updated': 'UPDATE',
  'storage.object.deleted': 'DELETE',
}

/**
 * The subscriptions that are asked for, and what the reply says of each: the same in the same order, with an id.
 *
 * @returns with how many values every row is compared; what takes all rows counts as one
 * @throws InvalidParameter
 */
export function readChanges(
  asked: AskedChanges[],
  filters: SharedFilters,
): { groups: ChangesGroup[]; reply: (AskedChanges & { id: number })[]; comparisons: number } {
  const groups = new Map<string, ChangesGroup>()
  let comparisons = 0
  for (const [index, { event, schema, table, filter, select }] of asked.entries()) {
    const wanted = event.toUpperCase()
    if (!['*', 'INSERT', 'UPDATE', 'DELETE'].includes(wanted)) {
      throw refusal(`there is no change ${event}: there are INSERT, UPDATE, DELETE and *`)
    }
    if ((schema !== 'storage' && schema !== '*') || (table && table !== 'objects' && table !== '*')) {
      throw refusal(
        `changes of ${schema}.${table || '*'} cannot be heard here, only those of storage.objects`,
      )
    }
    const unknown = select?.find((column) => !COLUMNS.has(column))
    if (unknown !== undefined) throw refusal(`storage.objects has no column ${unknown} that events tell of`)
    const columns = [...COLUMNS.keys()].filter((column) => !select || select.includes(column))
    const group = groups.get(String(columns)) ?? { columns, members: [] }
    groups.set(String(columns), group)
    if (groups.size > MAX_COLUMN_SETS) {
      throw refusal(`a channel selects at most ${MAX_COLUMN_SETS} different lists of columns`)
    }
    const rows = filter ? filters.read(filter) : EVERY_ROW
    comparisons += rows.comparisons
    group.members.push({ id: index + 1, event: wanted, holds: rows.holds })
  }
  const reply = asked.map((one, index) => ({ ...one, id: index + 1 }))
  return { groups: [...groups.values()], reply, comparisons }
}

const EVERY_ROW: RecordFilter = { holds: () => true, comparisons: 1 }

/** The ids of the subscriptions that an event is for. */
export function matchingIds({ members }: ChangesGroup, { type, record }: StorageEvent): number[] {
  const change = CHANGES[type]
  if (change === undefined || record === null) return []
  return members
    .filter(({ event, holds }) => (event === '*' || event === change) && holds(record))
    .map(({ id }) => id)
}

/** The `data` of which a client makes its `{ eventType, new, old, … }` (wire §10.5). */
export function changeData({ type, record, createdAt }: StorageEvent, columns: string[]) {
  const change = CHANGES[type]
  return {
    schema: 'storage',
    table: 'objects',
    commit_timestamp: createdAt.toISOString(),
    type: change,
    columns: columns.map((name) => ({ name, type: COLUMNS.get(name) })),
    ...(change !== 'DELETE' && { record: record && pick(record, columns) }),
    ...(change === 'UPDATE' && { old_record: record && pick(record, ['id']) }),
    // All of it, and not only its key: what is gone can be asked about nowhere else.
    ...(change === 'DELETE' && { old_record: record && pick(record, columns) }),
    errors: null,
  }
}

function pick(record: EventRecord, columns: string[]): Record<string, unknown> {
  return Object.fromEntries(
    columns.filter((column) => column in record).map((column) => [column, record[column]]),
  )
}

function refusal(message: string): StorageError {
  return new StorageError('InvalidParameter', { message })
}
