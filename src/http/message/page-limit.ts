import { z } from 'zod'

/** Entries of one page, in lists that go on behind the last one. */
export const MAX_PAGE = 1000

const SAYS = `must be a whole number from 1 to ${MAX_PAGE}`

/** The `limit` of a query string. */
export const pageLimit = z
  .string()
  .regex(/^\d{1,4}$/, SAYS)
  .transform(Number)
  .refine((n) => n >= 1 && n <= MAX_PAGE, SAYS)
  .default(100)
  .meta({ type: 'integer', minimum: 1, maximum: MAX_PAGE, default: 100 })
