import type { EventRecord } from '../../database/queries/events.ts'
import { StorageError } from '../../model/errors.ts'

/** The columns of `storage.objects` that an event's record has, with PostgreSQL's names of their types. */
export const COLUMNS: ReadonlyMap<string, string> = new Map([
  ['id', 'uuid'],
  ['bucket_id', 'text'],
  ['name', 'text'],
  ['owner', 'uuid'],
  ['owner_id', 'text'],
  ['created_at', 'timestamptz'],
  ['updated_at', 'timestamptz'],
  ['last_accessed_at', 'timestamptz'],
  ['metadata', 'jsonb'],
  ['user_metadata', 'jsonb'],
  ['version', 'text'],
  ['checksum', 'text'],
])

export interface RecordFilter {
  /** Whether a row is one of those asked for. */
  holds(record: EventRecord): boolean
  /** How many values a row is compared with. */
  comparisons: number
}

type Value = string | number

/** Of a row's value and the wanted one. Most filters only ask for equality, which is found out far faster than order. */
const OPERATORS = new Map<string, (own: Value, wanted: Value) => boolean>([
  ['eq', (own, wanted) => own === wanted],
  ['neq', (own, wanted) => own !== wanted],
  ['lt', (own, wanted) => compare(own, wanted) < 0],
  ['lte', (own, wanted) => compare(own, wanted) <= 0],
  ['gt', (own, wanted) => compare(own, wanted) > 0],
  ['gte', (own, wanted) => compare(own, wanted) >= 0],
  ['in', (own, wanted) => own === wanted],
])

/** Of one filter. */
const MAX_CONDITIONS = 20
const MAX_VALUES = 100

/**
 * A filter such as `bucket_id=eq.avatars` or `name=in.(a,b)`; all of several conditions with commas between them have
 * to hold (wire §10.5). What holds a comma or a parenthesis itself stands in double quotes. As in SQL, null equals
 * nothing and differs from nothing. Times are compared by their milliseconds.
 *
 * @throws InvalidParameter
 */
export function readFilter(text: string): RecordFilter {
  const parts = splitAtCommas(text)
  if (parts.length > MAX_CONDITIONS) throw refusal(`a filter has at most ${MAX_CONDITIONS} conditions`)
  const conditions = parts.map(readCondition)
  return {
    holds: (record) => conditions.every(({ holds }) => holds(record)),
    comparisons: conditions.reduce((sum, { comparisons }) => sum + comparisons, 0),
  }
}

function readCondition(text: string): RecordFilter {
  const [, column = '', operator = '', value = ''] = /^\s*(\w+)=(\w+)\.(.*)$/s.exec(text) ?? []
  if (column === '') throw refusal(`the filter ${JSON.stringify(text)} is not column=operator.value`)
  const type = COLUMNS.get(column)
  if (type === undefined) throw refusal(`storage.objects has no column ${column} that events tell of`)
  if (type === 'jsonb') throw refusal(`the column ${column} cannot be filtered by`)
  const isHeld = OPERATORS.get(operator)
  if (!isHeld) {
    throw refusal(`filters have no operator ${operator}: they have ${[...OPERATORS.keys()].join(', ')}`)
  }
  const wanted = (operator === 'in' ? listOf(value) : [value]).map((one) => comparable(type, unquoted(one)))
  if (wanted.some((one) => Number.isNaN(one))) throw refusal(`${column} is not compared with ${value}`)
  return {
    holds: (record) => {
      const actual = record[column]
      if (typeof actual !== 'string') return false
      const own = comparable(type, actual)
      return wanted.some((one) => isHeld(own, one))
    },
    comparisons: wanted.length,
  }
}

/** The values of `(a,b)`. */
function listOf(text: string): string[] {
  if (!/^\(.*\)$/s.test(text)) throw refusal('the values of in stand in parentheses')
  const values = splitAtCommas(text.slice(1, -1))
  if (values.length > MAX_VALUES) throw refusal(`in takes at most ${MAX_VALUES} values`)
  return values
}

/** Commas within double quotes or parentheses are not between things. */
function splitAtCommas(text: string): string[] {
  const pattern = /((?:[^,()"]|"(?:[^"\\]|\\.)*"|\((?:[^()"]|"(?:[^"\\]|\\.)*")*\))*)(,|$)/gsy
  const parts: string[] = []
  for (;;) {
    const match = pattern.exec(text)
    if (match === null) throw refusal(`quotes or parentheses of ${JSON.stringify(text)} do not match`)
    parts.push(match[1] ?? '')
    if (match[2] === '') return parts
  }
}

function unquoted(text: string): string {
  return /^".*"$/s.test(text) ? text.slice(1, -1).replace(/\\(.)/gs, '$1') : text
}

/** NaN for what is no value of the type. */
function comparable(type: string, text: string): Value {
  if (type === 'timestamptz') return Date.parse(text)
  return type === 'uuid' ? text.toLowerCase() : text
}

/** Text in the order of its bytes, as the database has it. */
function compare(a: Value, b: Value): number {
  if (typeof a === 'number' || typeof b === 'number') return Number(a) - Number(b)
  return a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b))
}

function refusal(message: string): StorageError {
  return new StorageError('InvalidParameter', { message })
}
