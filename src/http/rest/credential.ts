import { Hono } from 'hono'
import type { CredentialState } from '../../storage/credentials/credentials.ts'
import { requireCaller } from '../auth/caller.ts'
import type { AppContext, Env } from '../env.ts'
import { checkShape, jsonReader } from '../message/json-body.ts'
import { queryOf } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import {
  createCredential,
  createSchema,
  getCredential,
  listCredentials,
  pageSchema,
  revokeCredential,
} from './operations/credential.ts'

/** Access keys of S3 clients, for the service alone (decision 0048). */
export function credentialRoutes(services: Services) {
  const { credentials, roles } = services
  const readJson = jsonReader(services)
  const bodySchema = createSchema(roles)
  const idOf = (c: AppContext) => {
    const id = c.req.path.split('/')[2] ?? ''
    c.env.notes.resourceId = id
    return id
  }
  const serviceOf = (c: AppContext, operation: string) =>
    requireCaller(c, services, `storage.credential.${operation}`)

  return new Hono<Env>()
    .get(
      '/credential',
      operation(listCredentials, async (c) => {
        const caller = await serviceOf(c, 'list')
        const { limit, after } = checkShape('querystring', Object.fromEntries(queryOf(c.env)), pageSchema)
        const found = await credentials.list(caller, { after, limit: limit + 1 })
        const items = found.slice(0, limit).map(credentialJson)
        return c.json({ items, next: found.length > limit ? (items.at(-1)?.access_key_id ?? null) : null })
      }),
    )
    .post(
      '/credential',
      operation(createCredential, async (c) => {
        const caller = await serviceOf(c, 'create')
        const body = await readJson(c.env.incoming, bodySchema)
        const made = await credentials.create(caller, {
          role: body.role,
          subject: body.subject ?? null,
          claims: body.claims ?? {},
          description: body.description ?? '',
          expiresAt: body.expires_at ?? null,
        })
        c.env.notes.resourceId = made.accessKeyId
        // The one time that it is told.
        return c.json({ ...credentialJson(made), secret_access_key: made.secretAccessKey }, 201)
      }),
    )
    .get(
      '/credential/:id{\\w{1,128}}',
      operation(getCredential, async (c) => {
        return c.json(credentialJson(await credentials.get(await serviceOf(c, 'get'), idOf(c))))
      }),
    )
    .delete(
      '/credential/:id{\\w{1,128}}',
      operation(revokeCredential, async (c) => {
        await credentials.revoke(await serviceOf(c, 'revoke'), idOf(c))
        return c.body(null, 204)
      }),
    )
}

/** Without its secret. */
export function credentialJson(state: CredentialState) {
  return {
    access_key_id: state.accessKeyId,
    role: state.role,
    subject: state.subject,
    claims: state.claims,
    description: state.description,
    expires_at: state.expiresAt,
    created_at: state.createdAt,
    last_used_at: state.lastUsedAt,
    sealed_under: state.sealedUnder,
  }
}
