import { z } from 'zod'
import { credentialFields } from '../../../storage/credentials/credential-fields.ts'
import { fields, optional } from '../../message/json-fields.ts'
import { pageLimit } from '../../message/page-limit.ts'
import type { Describe, Operation } from '../../openapi/operation.ts'
import { anyObject, pageOf, time } from '../../openapi/shapes.ts'

export const pageSchema = z.object({
  limit: pageLimit,
  after: z
    .string()
    .regex(/^\w{1,128}$/, 'must be an access key')
    .default('')
    .describe('`next` of the page before.'),
})

export function createSchema(roles: string[]) {
  const { role, subject, claims, description, expires_at } = credentialFields(roles)
  return fields({
    role,
    subject: optional(subject).describe('As `sub` of a token.'),
    claims: optional(claims).describe('As those of a token.'),
    description: optional(description),
    expires_at: optional(expires_at).describe('Never without it.'),
  })
}

const credentialShape = {
  access_key_id: z.string(),
  role: z.string(),
  subject: z.string().nullable(),
  claims: anyObject,
  description: z.string(),
  expires_at: time.nullable(),
  created_at: time,
  last_used_at: time.nullable(),
  sealed_under: z
    .enum(['current', 'previous', 'unknown'])
    .describe('Which signing secret its own is sealed under.'),
}
const credential = z.strictObject(credentialShape).meta({ id: 'AccessKey' })

const credentialOperation = (operation: Omit<Operation, 'tag' | 'access' | 'path'>): Operation => ({
  tag: 'Access keys',
  access: 'service',
  path: { id: 'An access key.' },
  ...operation,
})

export const listCredentials: Describe = () =>
  credentialOperation({
    id: 'listAccessKeys',
    summary: 'Lists access keys',
    query: pageSchema,
    answers: { 200: { description: 'A page.', json: pageOf(credential, z.string()) } },
    errors: ['InvalidRequest'],
  })

export const createCredential: Describe = ({ roles }) =>
  credentialOperation({
    id: 'createAccessKey',
    summary: 'Makes an access key',
    body: { json: createSchema(roles) },
    answers: {
      201: {
        description: 'It is made. This is the one time that its secret is told.',
        json: z
          .strictObject({ ...credentialShape, secret_access_key: z.string() })
          .meta({ id: 'AccessKeyWithSecret' }),
      },
    },
  })

export const getCredential: Describe = () =>
  credentialOperation({
    id: 'getAccessKey',
    summary: 'Tells of an access key',
    answers: { 200: { description: 'The access key, without its secret.', json: credential } },
    errors: ['NoSuchCredential'],
  })

export const revokeCredential: Describe = () =>
  credentialOperation({
    id: 'revokeAccessKey',
    summary: 'Revokes an access key',
    answers: { 204: { description: 'It is revoked.' } },
    errors: ['NoSuchCredential'],
  })
