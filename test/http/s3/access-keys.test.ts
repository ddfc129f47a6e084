import { ListBucketsCommand, type S3Client } from '@aws-sdk/client-s3'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openPostgresProxy } from '../../support/postgres-proxy.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import type { S3Keys } from '../../support/s3-signer.ts'
import type { Served } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

// Pairs of one's own making, on the wire: whom policies take them for, and how soon they end (decision 0048).

let server: S3TestServer
let other: Served
beforeAll(async () => {
  server = await startS3Server()
  other = await server.beside()
  for (const name of ['acme-files', 'other-files', 'shared']) await server.createBucket(name)
  // What asks for all that a policy can ask about a caller, and what nobody but the signed-in may.
  await server.admin.unsafe(`
    create policy "tenant" on storage.buckets for select to authenticated
      using (id = (auth.jwt() ->> 'tenant') || '-files');
    create policy "user" on storage.buckets for select to authenticated
      using (id = 'shared' and auth.jwt() ->> 'sub' = 'user-1' and auth.role() = 'authenticated'
        and current_setting('request.jwt.claim.sub') = 'user-1' and current_user = 'authenticated'
        and auth.jwt() #>> '{app_metadata,plan}' = 'pro');`)
})
afterAll(async () => {
  await other.close()
  await server.close()
})

interface Said {
  role: string
  subject?: string
  claims?: Record<string, unknown>
  expires_at?: string
}

async function pairFor(said: Said): Promise<S3Keys> {
  const response = await server.request('POST', '/storage/v1/credential', { body: said })
  const body = (await response.json()) as { access_key_id: string; secret_access_key: string }
  return { accessKeyId: body.access_key_id, secretAccessKey: body.secret_access_key }
}

/** The buckets that S3 shows to a pair; or the error's name and status. */
async function seen(s3: S3Client): Promise<string[] | { name: string; status: number | undefined }> {
  try {
    const { Buckets = [] } = await s3.send(new ListBucketsCommand())
    return Buckets.map(({ Name = '' }) => Name).sort()
  } catch (error) {
    const { name, $metadata } = error as Error & { $metadata: { httpStatusCode?: number } }
    return { name, status: $metadata.httpStatusCode }
  }
}

/** Those that REST shows to a token that says the same. */
async function seenByToken({ role, subject, claims }: Said): Promise<string[]> {
  const signer = new SignJWT({ ...claims, role }).setProtectedHeader({ alg: 'HS256' })
  if (subject !== undefined) signer.setSubject(subject)
  const token = await signer.sign(new TextEncoder().encode(server.keys.jwtSecret))
  const response = await server.request('GET', '/storage/v1/bucket', { token })
  return ((await response.json()) as { name: string }[]).map(({ name }) => name).sort()
}

const PRO = { app_metadata: { plan: 'pro' } }

describe('who signs with an access key', () => {
  it.each<[what: string, said: Said, expected: string[]]>([
    ['the service', { role: 'service_role' }, ['acme-files', 'other-files', 'shared']],
    ['nobody', { role: 'anon' }, []],
    ['anybody signed in', { role: 'authenticated' }, []],
    ['a tenant', { role: 'authenticated', claims: { tenant: 'acme' } }, ['acme-files']],
    ['a tenant without the role', { role: 'anon', claims: { tenant: 'acme' } }, []],
    ['a user', { role: 'authenticated', subject: 'user-1', claims: PRO }, ['shared']],
    ['another user', { role: 'authenticated', subject: 'user-2', claims: PRO }, []],
    [
      'a user and tenant',
      { role: 'authenticated', subject: 'user-1', claims: { ...PRO, tenant: 'other' } },
      ['other-files', 'shared'],
    ],
  ])('is %s to policies, exactly as with a token', async (_, said, expected) => {
    expect(await seen(server.client(await pairFor(said)))).toEqual(expected)
    expect(await seenByToken(said)).toEqual(expected)
  })

  it('is told from who knows the access key alone, or has another secret', async () => {
    const pair = await pairFor({ role: 'service_role' })
    const wrong = { ...pair, secretAccessKey: `${pair.secretAccessKey.slice(0, -1)}x` }
    expect(await seen(server.client(wrong))).toEqual({ name: 'SignatureDoesNotMatch', status: 403 })
    const unknown = { ...pair, accessKeyId: 'SRAAAAAAAAAAAAAAAAAA' }
    expect(await seen(server.client(unknown))).toEqual({ name: 'InvalidAccessKeyId', status: 403 })
    const { last_used_at } = (await (
      await server.request('GET', `/storage/v1/credential/${pair.accessKeyId}`)
    ).json()) as { last_used_at: string | null }
    expect(last_used_at).toBeNull()
  })

  it('is noted as its last use', async () => {
    const pair = await pairFor({ role: 'anon' })
    await seen(server.client(pair))
    await until(async () => {
      const response = await server.request('GET', `/storage/v1/credential/${pair.accessKeyId}`)
      return ((await response.json()) as { last_used_at: string | null }).last_used_at !== null
    }, 'its use is noted')
  })

  it('is refused on every server within a second of its revocation, and the innocent go on', async () => {
    const [pair, innocent] = [await pairFor({ role: 'service_role' }), await pairFor({ role: 'anon' })]
    const clients = [server.client(pair), server.client(pair, { endpoint: `${other.url}/storage/v1/s3` })]
    for (const client of clients) expect(await seen(client)).toHaveLength(3)
    await server.request('DELETE', `/storage/v1/credential/${pair.accessKeyId}`)
    const revokedAt = performance.now()
    for (const client of clients) {
      // Answered yes at the latest by who was asked within that second.
      for (
        let askedAt = performance.now(), last = await seen(client);
        Array.isArray(last);
        last = await seen(client)
      ) {
        expect(askedAt - revokedAt).toBeLessThan(1000)
        askedAt = performance.now()
      }
      expect(await seen(client)).toEqual({ name: 'InvalidAccessKeyId', status: 403 })
    }
    expect(await seen(server.client(innocent))).toEqual([])
  })

  it('hears that the pair has expired', async () => {
    const pair = await pairFor({ role: 'anon', expires_at: new Date(Date.now() + 3_600_000).toISOString() })
    const client = server.client(pair)
    expect(await seen(client)).toEqual([])
    await server.admin`update storage.credentials set expires_at = now() where access_key_id = ${pair.accessKeyId}`
    await until(async () => !Array.isArray(await seen(client)), 'it is refused')
    const response = await server.send('GET', '/', { signing: pair })
    expect([response.status, await response.text()]).toEqual([
      403,
      expect.stringMatching(/<Code>InvalidAccessKeyId<\/Code><Message>The access key has expired</),
    ])
  })

  it('hears 503 while the database is away, which is no refusal, and is taken again when it is back', async () => {
    const proxy = await openPostgresProxy()
    const away = await startS3Server({}, { databaseUrl: (name) => proxy.url(name) })
    const made = await away.request('POST', '/storage/v1/credential', { body: { role: 'service_role' } })
    const { access_key_id, secret_access_key } = (await made.json()) as Record<string, string>
    const pair = { accessKeyId: String(access_key_id), secretAccessKey: String(secret_access_key) }
    const client = away.client(pair)
    proxy.mode = 'refuse'
    proxy.cutAll()
    expect(await seen(client)).toEqual({ name: 'ServiceUnavailable', status: 503 })
    proxy.mode = 'pass'
    await until(async () => Array.isArray(await seen(client)), 'it is taken again')
    await away.close()
    await proxy.close()
  })

  it('has no token of REST by it', async () => {
    const { secretAccessKey } = await pairFor({ role: 'service_role' })
    const response = await server.request('GET', '/storage/v1/bucket', { token: secretAccessKey })
    expect(response.status).toBe(401)
  })
})
