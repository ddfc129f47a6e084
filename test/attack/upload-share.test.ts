import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { RawConnection, type RawResponse, rawRequest } from '../support/raw-http.ts'
import { type S3TestServer, startS3Server } from '../support/s3-protocol.ts'
import { expectNoDrift } from '../support/traces.ts'
import { metadataOf } from '../support/tus-requests.ts'
import { until } from '../support/wait.ts'

/** Uploads that one client may have under way, and so many clients have room. */
const EACH = 2
const CLIENTS = 4

let server: S3TestServer
let open: RawConnection[] = []
beforeAll(async () => {
  server = await startS3Server({
    STORAGE_MAX_UPLOADS: String(EACH * CLIENTS),
    STORAGE_MAX_UPLOAD_SHARE: String(1 / CLIENTS),
    STORAGE_IDLE_TIMEOUT: '1h',
    STORAGE_TRUST_PROXY: 'true',
  })
  await server.createBucket('box', { policy: 'authenticated' })
  await server.admin.unsafe(`create policy "drop box" on storage.objects for insert to anon
    with check (bucket_id = 'box')`)
})
afterEach(async () => {
  for (const connection of open) connection.abort()
  open = []
  await until(async () => (await underWay()) === 0, 'what was begun has ended')
  await expectNoDrift(server)
})
afterAll(() => server.close())

async function underWay(): Promise<number> {
  const [row] = await server.admin`select count(*)::int as n from storage.uploads`
  return row?.n
}

async function send(method: string, target: string, headers: string[], body = ''): Promise<RawConnection> {
  const connection = await RawConnection.open(server.url)
  open.push(connection)
  await connection.send(rawRequest(method, target, headers), Buffer.from(body))
  return connection
}

/** Begins an upload that goes on for ever. */
const begin = (token: string, name: string, from = '192.0.2.1') =>
  send(
    'POST',
    `/object/box/${name}`,
    [
      `Authorization: Bearer ${token}`,
      `X-Forwarded-For: ${from}`,
      'Content-Type: text/plain',
      'Content-Length: 2000000',
    ],
    'x'.repeat(10),
  )

async function answer(connection: Promise<RawConnection>): Promise<RawResponse> {
  return (await connection).response()
}

/** Takes a client's whole share. */
async function fill(token: string, from?: string): Promise<void> {
  for (let index = 0; index < EACH; index++) await begin(token, `hostile-${index}`, from)
  await until(async () => (await underWay()) === EACH, 'all are under way')
}

it('who has his share of the uploads under way gets no more, on any surface, while others find room', async () => {
  const [hostile, innocent] = [await server.token('hostile'), await server.token('innocent')]
  await fill(hostile)

  const refused = await answer(begin(hostile, 'one-more'))
  expect([refused.status, refused.json().code]).toEqual([429, 'SlowDown'])
  expect(refused.headers['retry-after']).toBe('2')
  const tus = await answer(
    send('POST', '/upload/resumable', [
      `Authorization: Bearer ${hostile}`,
      'Tus-Resumable: 1.0.0',
      'Upload-Length: 2000000',
      'Content-Type: application/offset+octet-stream',
      'Content-Length: 2000000',
      `Upload-Metadata: ${metadataOf({ bucketName: 'box', objectName: 'one-more' })}`,
    ]),
  )
  expect(tus.status).toBe(503)
  const put = async (subject: string) =>
    server.send('PUT', '/box/by-s3', { body: 'bytes', signing: await server.session(subject) })
  expect((await put('hostile')).status).toBe(503)

  expect((await put('innocent')).status).toBe(200)
  const upload = (token: string) => server.request('POST', '/object/box/one', { token, body: 'bytes' })
  expect((await upload(innocent)).status).toBe(201)
  const asService = Array.from({ length: EACH * 2 }, (_, index) =>
    server.request('POST', `/object/box/service-${index}`, { body: 'bytes' }),
  )
  expect((await Promise.all(asService)).map(({ status }) => status)).toEqual(asService.map(() => 201))
})

it('nobody without an account has more than his share, which is his address’s', async () => {
  const { anonKey } = server.keys
  await fill(anonKey, '203.0.113.7')
  const refused = await answer(begin(anonKey, 'one-more', '203.0.113.7'))
  expect([refused.status, refused.json().code]).toEqual([429, 'SlowDown'])
  const upload = (from: string) =>
    server.request('POST', `/object/box/${from}`, {
      token: anonKey,
      headers: { 'x-forwarded-for': from },
      body: 'bytes',
    })
  expect((await upload('203.0.113.7')).status).toBe(429)
  expect((await upload('203.0.113.8')).status).toBe(201)
})

it('a place is had again when an upload has ended, however it has', async () => {
  const token = await server.token('hostile')
  for (let round = 0; round < 3; round++) {
    await fill(token)
    expect((await answer(begin(token, 'one-more'))).status).toBe(429)
    for (const connection of open) connection.abort()
    open = []
    await until(async () => (await underWay()) === 0, 'what was begun has ended')
  }
  const upload = await server.request('PUT', '/object/box/mine', { token, body: 'bytes' })
  expect(upload.ok).toBe(true)
})
