import { z } from 'zod'
import type { AuditPlace } from '../../../database/queries/audit.ts'
import { UUID } from '../../../lib/uuid.ts'
import { pageLimit } from '../../message/page-limit.ts'
import type { Describe } from '../../openapi/operation.ts'
import { pageOf, time, uuid } from '../../openapi/shapes.ts'

const text = z.string().min(1).max(1024, 'must have at most 1024 characters')

const moment = z.iso.datetime({ offset: true, error: 'must be a time such as 2026-11-28T10:15:00Z' })

/** Where a page has ended: a time in milliseconds since 1970, and the id of an entry. */
const cursor = z
  .string()
  .regex(/^\d{1,14}\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'must be the next of a page before')
  .describe('`next` of the page before.')

const page = { limit: pageLimit, cursor: cursor.optional() }

export const pageSchema = z.object(page)

export const listSchema = z.object({
  ...page,
  user_id: text.optional(),
  file_id: z.string().toLowerCase().regex(UUID, 'must be the id of an object').optional(),
  bucket: text.optional(),
  action: z
    .string()
    .regex(/^[a-z_]{1,32}$/, 'must be an action such as delete')
    .optional(),
  role: z.string().min(1).max(63).optional(),
  allowed: z.enum(['true', 'false'], 'must be true or false').optional(),
  from: moment.optional().describe('Inclusive.'),
  to: moment.optional().describe('Exclusive.'),
})

/** @param cursor as `cursorAt` makes it */
export function placeAt(cursor: string | undefined): AuditPlace | undefined {
  if (cursor === undefined) return undefined
  const [at = '', id = ''] = cursor.split('.')
  return { at: new Date(Number(at)), id }
}

export function cursorAt({ at, id }: { at: string; id: string }): string {
  return `${Date.parse(at)}.${id}`
}

const ownersShape = {
  at: time,
  id: uuid,
  action: z.string(),
  resource_type: z.string(),
  resource_id: z.string().nullable(),
  user_id: z.string().nullable(),
  role: z.string().nullable(),
  file_id: uuid.nullable(),
  bucket: z.string().nullable(),
  path: z.string().nullable(),
  target: z.string().nullable().describe('Of a move or a copy, where to.'),
  allowed: z.boolean(),
  status: z.int(),
  bytes: z.int().nullable(),
  via: z.string().nullable(),
  repeated: z.int().describe('So many more like this one have no entry of their own.'),
}

const entry = z
  .strictObject({
    ...ownersShape,
    address: z.string().nullable(),
    user_agent: z.string().nullable(),
    request_id: z.string().nullable(),
    credential: z.string().nullable(),
  })
  .meta({ id: 'AuditEntry' })

const ownersEntry = z.strictObject(ownersShape).meta({ id: 'OwnersAuditEntry' })

export const listAudit: Describe = () => ({
  id: 'listAudit',
  tag: 'Audit',
  access: 'service',
  summary: 'Lists what was done, the newest first',
  query: listSchema,
  answers: { 200: { description: 'A page.', json: pageOf(entry, z.string()) } },
  errors: ['InvalidRequest'],
})

export const listObjectAudit: Describe = () => ({
  id: 'listObjectAudit',
  tag: 'Audit',
  access: 'token',
  summary: 'Lists what was done with an object, the newest first',
  description: 'For its owner; for the service also with what had the name before.',
  query: pageSchema,
  answers: {
    200: { description: 'A page.', json: pageOf(z.union([entry, ownersEntry]), z.string()) },
  },
  errors: ['InvalidRequest', 'NoSuchKey'],
})
