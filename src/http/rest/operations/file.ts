import { z } from 'zod'
import type { Describe } from '../../openapi/operation.ts'
import { attributeShape, autoDeletionShape, time, uuid } from '../../openapi/shapes.ts'
import { changeSchema } from '../change-fields.ts'
import { CHANGE_ERRORS, deletion, ownDeleteQuery, ownShape } from './object.ts'

/** As `fileJson` makes it. */
export const file = z
  .strictObject({
    ...ownShape,
    ...attributeShape,
    ...autoDeletionShape,
    status: z.literal('available'),
    etag: z.string(),
    cache_control: z.string(),
    file_id: uuid.describe('The same as `id`.'),
    bucket_name: z.string().describe('`bucket`'),
    file_path: z.string().describe('`path`'),
    filename: z.string().describe('`file_name`'),
    file_size: z.int().nullable().describe('`size`'),
    mime_type: z.string().describe('`content_type`'),
    content_hash: z.string().nullable().describe('`checksum`'),
    user_id: z.string().nullable().describe('`owner_id`'),
    uploaded_at: time.describe('`created_at`'),
  })
  .meta({ id: 'File' })

export const getFile: Describe = () => ({
  id: 'getFile',
  tag: 'Objects',
  summary: 'Tells of an object, by its id',
  description: 'Which stays when it is moved or overwritten.',
  access: 'token',
  answers: { 200: { description: 'What is known of it.', json: file } },
  errors: ['NoSuchKey'],
})

export const changeFile: Describe = () => ({
  id: 'changeFile',
  tag: 'Objects',
  summary: 'Changes what an object says of itself, by its id',
  description: 'Its bytes and its version stay.',
  access: 'token',
  headers: ['if-match', 'if-unmodified-since'],
  body: { json: changeSchema },
  answers: { 200: { description: 'It is changed.', json: file } },
  errors: CHANGE_ERRORS,
})

export const deleteFile: Describe = () => ({
  id: 'deleteFile',
  tag: 'Objects',
  summary: 'Deletes an object, by its id',
  description: 'As its bucket says: for good, into the trash, or as a version.',
  access: 'token',
  headers: ['if-match', 'if-unmodified-since'],
  query: ownDeleteQuery.pick({ permanent: true }),
  answers: {
    200: {
      description: 'It is deleted; told where `permanent` is said.',
      json: deletion,
    },
    204: { description: 'It is deleted.' },
  },
  errors: ['InvalidRequest', 'NoSuchKey', 'KeptByRule', 'ObjectLocked', 'PreconditionFailed'],
})
