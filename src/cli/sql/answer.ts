import type { Duplex } from 'node:stream'
import type postgres from '#postgres'
import { table } from './table.ts'

/** Each value as PostgreSQL wrote it. */
type RawAnswer = postgres.RawRowList<postgres.Row[]>

interface Outcome {
  columns: { name: string; type: number }[] | undefined
  command: string
  count: number | null
}

/**
 * What a statement has answered, for stdout: rows as a table, or with `json` an object each, on a line; and for what has
 * none its name, but not between JSON.
 *
 * @throws Error for `copy`, which goes on in a way of its own
 */
export function answer(result: RawAnswer, { json }: { json?: boolean }): string {
  if (!Array.isArray(result)) {
    const copied = result as Duplex // whatever the driver's type says
    copied.on('error', () => {}).destroy()
    throw new Error('copy from stdin and to stdout needs psql')
  }
  const { columns, command, count }: Outcome = result
  // The driver's types know neither null, nor statements without columns.
  const rows = result.map((row: (Buffer | null)[]) => row.map((value) => value?.toString() ?? null))
  if (columns === undefined) return json ? '' : `${command}${count === null ? '' : ` ${count}`}\n`
  if (!json) {
    return table(
      columns.map(({ name, type }) => ({ name, isNumber: NUMBERS.has(type) })),
      rows,
    )
  }
  const asObject = (row: (string | null)[]) =>
    Object.fromEntries(columns.map(({ name, type }, index) => [name, jsonValue(row[index] ?? null, type)]))
  return rows.map((row) => `${JSON.stringify(asObject(row))}\n`).join('')
}

/** What JSON has a form for; the rest is PostgreSQL's text, as are numbers that JSON's readers would round. */
function jsonValue(text: string | null, type: number): unknown {
  if (text === null) return null
  if (type === BOOL) return text === 't'
  if (type === JSON_TYPE || type === JSONB) return JSON.parse(text)
  return NUMBERS.has(type) && String(Number(text)) === text && Number.isFinite(Number(text))
    ? Number(text)
    : text
}

// Object ids of pg_type.
const BOOL = 16
const JSON_TYPE = 114
const JSONB = 3802
/** int8, int2, int4, oid, float4, float8, numeric. */
const NUMBERS = new Set([20, 21, 23, 26, 700, 701, 1700])
