import { type SQL, sql } from 'drizzle-orm'

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
