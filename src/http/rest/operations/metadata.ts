import { z } from 'zod'
import type { Describe, Operation } from '../../openapi/operation.ts'
import { anyObject } from '../../openapi/shapes.ts'

/** Of all, or with `key` of one. */
export const metadataSchema = z.record(z.string(), z.unknown(), 'must be an object')
export const metadataValueSchema = z
  .strictObject({ value: z.unknown() })
  .refine((body) => body.value !== undefined, 'must have a value')

const query = z.object({ key: z.string().optional().describe('This one alone.') })

const READ_ERRORS: Operation['errors'] = ['InvalidRequest', 'NoSuchBucket', 'NoSuchKey']
const WRITE: Pick<Operation, 'tag' | 'access' | 'query' | 'headers' | 'errors'> = {
  tag: 'Objects',
  access: 'token',
  query,
  headers: ['if-match', 'if-unmodified-since'],
  errors: ['InvalidRequest', 'InvalidKey', 'NoSuchBucket', 'NoSuchKey', 'KeptByRule', 'PreconditionFailed'],
}

export const getMetadata: Describe = () => ({
  id: 'getMetadata',
  tag: 'Objects',
  summary: "Tells an object's user metadata",
  access: 'token',
  query,
  answers: { 200: { description: 'All of it; with `key` that and its `value`.', json: anyObject } },
  errors: READ_ERRORS,
})

export const putMetadata: Describe = () => ({
  ...WRITE,
  id: 'putMetadata',
  summary: "Puts an object's user metadata in the place of what it has",
  description: 'With `key` the body is `{"value": …}` and the rest stays; a value of null takes it away.',
  body: { json: metadataSchema },
  answers: { 200: { description: 'All of it, as it is now.', json: anyObject } },
})

export const deleteMetadata: Describe = () => ({
  ...WRITE,
  id: 'deleteMetadata',
  summary: "Takes an object's user metadata away",
  description: 'All of it, or what `key` names; that there is none is a success.',
  answers: { 204: { description: 'It is away.' } },
})
