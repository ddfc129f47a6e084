import { z } from 'zod'
import { fields, flag, integer, listOfObjects, optional } from '../../message/json-fields.ts'
import { MAX_PAGE, pageLimit } from '../../message/page-limit.ts'
import type { Describe, Operation } from '../../openapi/operation.ts'
import { anyObject, pageOf, time, uuid } from '../../openapi/shapes.ts'

const text = z.string('must be a string')

export const listSchema = z.object({
  bucket: z.string().optional(),
  prefix: z.string().default('').describe('What the names begin with.'),
  deleted_by: z.string().optional().describe('The subject of who has deleted it.'),
  limit: pageLimit,
  cursor: z.string().optional().describe('`next` of the page before.'),
})

export const restoreSchema = fields({
  ids: optional(listOfObjects(MAX_PAGE, text)).describe('Of objects, or of their versions.'),
  bucket: optional(text),
  path: optional(text).describe('With `bucket`, in place of `ids`: what was deleted last of that name.'),
  to: optional(text).describe('Another name in the same bucket, for one.'),
  overwrite: optional(flag()).describe('`true`: what has the name gives way.'),
}).refine(
  ({ ids, bucket, path, to }) =>
    ids === undefined
      ? bucket !== undefined && path !== undefined
      : bucket === undefined && path === undefined && (to === undefined || ids.length === 1),
  'must have ids, or bucket and path; and with more than one id no `to`',
)

const days = 'must be a whole number from 0 to 36500'

export const emptySchema = fields({
  bucket: optional(text).describe('All of them without it.'),
  older_than_days: optional(integer(z.int(days).min(0, days).max(36_500, days))).describe(
    'Only what was deleted so many days ago, or earlier.',
  ),
})

/** As `trashedJson` makes it. */
const trashed = {
  id: uuid,
  bucket: z.string(),
  path: z.string(),
  version: z.string(),
  size: z.int().nullable(),
  content_type: z.string().nullable(),
  checksum: z.string().nullable(),
  owner_id: z.string().nullable(),
  metadata: anyObject.nullable().describe("The user's."),
  created_at: time.nullable(),
  updated_at: time.nullable(),
}

const entry = z
  .strictObject({
    ...trashed,
    deleted_at: time.nullable(),
    deleted_by: z.string().nullable(),
    purge_at: time.nullable().describe('When it goes for good.'),
    status: z.literal('deleted'),
    is_deleted: z.literal(true),
  })
  .meta({ id: 'TrashEntry' })

const restored = z.strictObject({
  restored: z.array(z.strictObject(trashed).meta({ id: 'RestoredObject' })),
  failed: z
    .array(z.strictObject({ id: z.string(), code: z.string(), message: z.string() }))
    .describe('Of several; one alone is answered with its error.'),
})

const trashOperation = (operation: Omit<Operation, 'tag' | 'access'>): Operation => ({
  tag: 'Trash',
  access: 'token',
  ...operation,
})

export const listTrash: Describe = () =>
  trashOperation({
    id: 'listTrash',
    summary: 'Lists what was deleted and can come back',
    description:
      'By bucket and name: what is yours, what is in a bucket of yours, and what your policies would show if it were back. A page may ' +
      'have fewer entries than `limit`, and a `next` all the same.',
    query: listSchema,
    answers: { 200: { description: 'A page of it.', json: pageOf(entry, z.string()) } },
    errors: ['InvalidRequest', 'InvalidParameter'],
  })

export const restoreTrash: Describe = () =>
  trashOperation({
    id: 'restoreTrash',
    summary: 'Brings back what was deleted',
    description: 'As it was: with its id, its version, its owner, its times and its tags.',
    body: { json: restoreSchema },
    answers: { 200: { description: 'What is back.', json: restored.meta({ id: 'Restored' }) } },
    errors: ['InvalidRequest', 'InvalidKey', 'NoSuchTrashItem', 'AccessDenied', 'KeyAlreadyExists'],
  })

export const deleteTrash: Describe = () =>
  trashOperation({
    id: 'deleteTrash',
    summary: 'Removes one from the trash for good',
    path: { id: 'The id of an object, or of its version.' },
    answers: { 204: { description: 'It is gone.' } },
    errors: ['InvalidRequest', 'NoSuchTrashItem', 'KeptByRule'],
  })

export const emptyTrash: Describe = () =>
  trashOperation({
    id: 'emptyTrash',
    summary: 'Empties the trash',
    description:
      'Removes for good what is yours and what is in a bucket of yours; for the service, all. What is locked stays. It goes on though ' +
      'the client leaves.',
    body: { json: emptySchema },
    answers: {
      200: {
        description: 'It is empty.',
        json: z.strictObject({ message: z.string(), count: z.int() }).meta({ id: 'Emptied' }),
      },
    },
    errors: ['InvalidRequest'],
  })
