import { z } from 'zod'
import type { EventFilter } from '../../events/event-filter.ts'
import { EVENT_TYPES } from '../../model/event-types.ts'

/** Of one channel; a connection has a limit for all that its channels compare besides. */
const MAX_FILTERS = 100

/** No legal name is longer (wire §3.1). In characters. */
const MAX_NAME = 1024

const name = z.string().min(1).max(MAX_NAME)

/** A word that nobody knows would narrow nothing, and who has misspelt one would hear far too much. */
const askedEvents = z.strictObject({
  event: z.enum(['*', ...EVENT_TYPES]).nullish(),
  bucket: name.nullish(),
  prefix: name.nullish(),
})

/** What a client asks for with `config.storage`: events of any of these kinds, at any of these places. */
export const askedStorage = z.array(askedEvents).min(1).max(MAX_FILTERS)

/** By type: all filters for one share it. */
const ONLY = new Map(EVENT_TYPES.map((type) => [type, new Set([type])]))

export function storageFilters(asked: z.infer<typeof askedStorage>): EventFilter[] {
  return asked.map(({ event, bucket, prefix }) => ({
    types: event && event !== '*' ? ONLY.get(event) : undefined,
    bucket: bucket ?? undefined,
    prefix: prefix ?? undefined,
  }))
}
