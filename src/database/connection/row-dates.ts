/**
 * Dates of rows that plain SQL may have made: there may be none, or one that JavaScript has no date for, such as
 * `infinity`. What is shown then depends on who asks.
 */

/** That moment, or null. */
export function dateOrNull(text: string | null): Date | null {
  const date = new Date(text ?? Number.NaN)
  return Number.isNaN(date.getTime()) ? null : date
}

/** That moment, or the first of 1970, for who cannot do without. */
export function dateOr1970(text: string | null): Date {
  return dateOrNull(text) ?? new Date(0)
}
