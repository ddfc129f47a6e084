import { z } from 'zod'

const SECONDS_LEFT_OUT = /^([^T]+T\d\d:\d\d)(Z|[+-]\d\d:\d\d)$/

/**
 * A moment that has passed, in a query or a body: RFC 3339, but the seconds may be left out. What is to come, nobody knows; and
 * of before 1970 no database of ours does.
 */
export const moment = z
  .string('must be a string')
  .transform((text) => text.replace(SECONDS_LEFT_OUT, '$1:00$2'))
  .pipe(z.iso.datetime({ offset: true, error: 'must be a time such as 2026-11-20T10:00Z' }))
  .transform((text) => new Date(text))
  .refine((at) => at.getTime() >= 0, 'must be after 1970')
  .refine((at) => at.getTime() <= Date.now(), 'must not be in the future')
