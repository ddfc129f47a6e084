import { z } from 'zod'
import { EVENT_TYPES } from '../../../model/event-types.ts'
import type { Describe } from '../../openapi/operation.ts'
import { time } from '../../openapi/shapes.ts'

export const querySchema = z.object({
  bucket: z.string().optional(),
  prefix: z.string().optional().describe('What the path begins with.'),
  type: z
    .string()
    .transform((text) => text.split(','))
    .pipe(z.array(z.enum(EVENT_TYPES, `must be among ${EVENT_TYPES.join(', ')}`)))
    .optional()
    .describe(`By commas: ${EVENT_TYPES.join(', ')}.`),
})

const data = z.record(z.string(), z.unknown()).optional().describe('What its type tells besides.')
const traceparent = z
  .string()
  .optional()
  .describe('Of its request, where that was traced (W3C Trace Context).')

/** As `eventJson` makes it. */
const placedEvent = z.strictObject({
  id: z.int(),
  type: z.enum(EVENT_TYPES),
  bucket: z.string(),
  bucket_id: z.string().describe('The same.'),
  path: z.string().nullable(),
  object_id: z.string().nullable().describe('Stays when the object is overwritten or moved.'),
  old_bucket: z.string().nullable(),
  old_path: z.string().nullable(),
  size: z.int().nullable(),
  content_type: z.string().nullable(),
  checksum: z.string().nullable(),
  version: z.string().nullable(),
  owner_id: z.string().nullable(),
  timestamp: time,
  data,
  traceparent,
})

export const eventShape = z
  .union([
    placedEvent,
    z.strictObject({ id: z.int(), type: z.enum(EVENT_TYPES), timestamp: time, data, traceparent }),
  ])
  .meta({
    id: 'Event',
    description: 'Of what concerns no bucket, such as a backup, without the fields of an object.',
  })

export const readEvents: Describe = () => ({
  id: 'readEvents',
  tag: 'Events',
  summary: 'Server-sent events, as they happen',
  description:
    "Those that the caller's policies show. `data` is JSON, an `Event`; `storage.events.lost` says that some are missing.",
  access: 'listener',
  query: querySchema,
  headers: ['last-event-id'],
  answers: {
    200: {
      description: 'A stream that goes on.',
      content: { 'text/event-stream': z.string() },
      headers: ['Cache-Control'],
    },
  },
  errors: ['InvalidRequest', 'NoSuchBucket', 'TooManyOfOneCaller'],
})
