import { type SQL, sql } from 'drizzle-orm'
import type postgres from '#postgres'

const asItIs = (text: unknown) => text

/**
 * How values are read and written where the driver's own way is not ours: dates stay the text that PostgreSQL writes,
 * which knows microseconds, and JSON is given as text. The numbers are those of the types (`pg_type.oid`).
 */
export const VALUE_TYPES: Record<string, postgres.PostgresType> = {
  dates: {
    to: 1184, // timestamptz
    // date, time, timestamp, timestamptz, and date[], timestamp[], timestamptz[], numeric[]
    from: [1082, 1083, 1114, 1184, 1182, 1115, 1185, 1231],
    parse: asItIs,
    serialize: asItIs,
  },
  json: {
    to: 3802, // jsonb
    from: [114, 3802], // json, jsonb
    parse: JSON.parse,
    serialize: asItIs,
  },
}

/** One parameter for any number of texts, so that the statement's text stays one and is prepared once. */
export function textArray(values: string[]): SQL {
  return sql`array(select jsonb_array_elements_text(${JSON.stringify(values)}::jsonb))`
}

/**
 * The date of a row that plain SQL may have made: there may be none, or one that JavaScript has no date for, such as
 * `infinity`. It is null then, and what is shown depends on who asks.
 */
export function dateOrNull(text: string | null): Date | null {
  const date = new Date(text ?? Number.NaN)
  return Number.isNaN(date.getTime()) ? null : date
}

/** The same, or the first of 1970, for who cannot do without. */
export function dateOr1970(text: string | null): Date {
  return dateOrNull(text) ?? new Date(0)
}

/** A length or a limit, which PostgreSQL gives as text. In bytes. */
export function bytesOrNull(text: string | null): number | null {
  return text === null ? null : Number(text)
}

/** As a parameter of a JSON column. */
export function jsonOrNull(value: object | null): string | null {
  return value === null ? null : JSON.stringify(value)
}
