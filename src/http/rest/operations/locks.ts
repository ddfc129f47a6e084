import { z } from 'zod'
import { fields, flag, optional } from '../../message/json-fields.ts'
import { versionQuery } from '../../message/wanted-version.ts'
import type { Describe } from '../../openapi/operation.ts'
import { time } from '../../openapi/shapes.ts'

const moment = z.iso
  .datetime({ offset: true, error: 'must be a time such as 2027-01-31T00:00:00Z' })
  .transform((text) => new Date(text))

export const lockSchema = fields({
  retain_until: optional(moment).describe('Until when nobody removes the version. It only grows.'),
  legal_hold: optional(flag()).describe(
    '`true` holds the version until an operator lets it go; `false` only where it is not held.',
  ),
}).refine(
  (body) => body.retain_until !== undefined || body.legal_hold !== undefined,
  'must have retain_until or legal_hold',
)

const lock = z
  .strictObject({
    version_id: z.string(),
    is_locked: z.boolean().describe('Whether nobody can remove it now.'),
    locked_until: time
      .nullable()
      .describe('By its own `retain_until` or the `retention_days` of its bucket.'),
    retain_until: time.nullable().describe('Its own.'),
    legal_hold: z.boolean(),
  })
  .meta({ id: 'ObjectLock' })

export const findLock: Describe = () => ({
  id: 'getObjectLock',
  tag: 'Objects',
  summary: 'Tells how a version is locked',
  description: 'The current one, if none is named.',
  access: 'token',
  query: versionQuery,
  answers: { 200: { description: 'How it is.', json: lock } },
  errors: ['NoSuchKey', 'NoSuchVersion'],
})

export const lockObject: Describe = () => ({
  id: 'lockObject',
  tag: 'Objects',
  summary: 'Locks a version',
  description:
    'Nobody removes it then, neither by the service key nor by SQL, in a bucket with `object_lock`. Whoever may change the ' +
    'object may lock it; nobody makes a lock shorter.',
  access: 'token',
  query: versionQuery,
  body: { json: lockSchema },
  answers: { 200: { description: 'How it is locked now.', json: lock } },
  errors: ['InvalidParameter', 'NoSuchKey', 'NoSuchVersion', 'KeptByRule', 'ObjectLocked'],
})
