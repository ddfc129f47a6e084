import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift } from '../../support/traces.ts'

let proxy: PostgresProxy
let server: TestServer
let bucket: string
beforeAll(async () => {
  proxy = await openPostgresProxy()
  server = await startTestServer({}, { databaseUrl: (name) => proxy.url(name) })
})
afterAll(async () => {
  await server.close()
  await proxy.close()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { policy: 'authenticated' })
  await server.request('PUT', `/object/${bucket}/known`, { body: 'known' })
  await server.request('DELETE', `/object/${bucket}/known`)
})

/** Takes the bucket away as another server does, so that this one does not hear of it. */
const removeBucket = async () => {
  await server.admin`set storage.allow_delete_query = 'true'`
  await server.admin`delete from storage.buckets where id = ${bucket}`
}

/** Sends half of a body, and the rest once `meanwhile` has resolved. */
async function slowly(token: string, meanwhile: () => Promise<void>): Promise<[number, string]> {
  const sending = httpRequest(`${server.url}/storage/v1/object/${bucket}/slow`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'text/plain', 'content-length': 8 },
  })
  const answered = once(sending, 'response') as Promise<[IncomingMessage]>
  answered.catch(() => {})
  sending.on('error', () => {})
  sending.write('half')
  await Promise.race([meanwhile(), answered])
  sending.end('half')
  const [response] = await answered
  return [response.statusCode ?? 0, JSON.parse(await text(response)).code]
}

/** Until the policies were asked. */
const asked = () =>
  expect
    .poll(() => proxy.roundTrips.some((about) => /begin_upload/.test(about)), { timeout: 20_000 })
    .toBe(true)

describe.each(['authenticated', 'service_role'])('a slow small body by %s', (role) => {
  const tokenOf = () =>
    role === 'service_role' ? Promise.resolve(server.keys.serviceKey) : server.token(randomUUID())

  it('hears that there is no bucket, when another server had deleted it before', async () => {
    await removeBucket()
    const said = await slowly(await tokenOf(), () => new Promise(() => {}))
    expect(said).toEqual([404, 'NoSuchBucket'])
    await expectNoDrift(server)
  })

  it('hears what the policies say, when it is deleted while the body comes', async () => {
    proxy.arm(0)
    const said = await slowly(await tokenOf(), async () => {
      await asked()
      await removeBucket()
    })
    expect(said).toEqual(role === 'service_role' ? [404, 'NoSuchBucket'] : [403, 'AccessDenied'])
    await expectNoDrift(server)
  })
})
