import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { cleanUp } from '../support/cleanup.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { refusal, startUpload } from '../support/tus.ts'
import { answerOf, TusRequests } from '../support/tus-requests.ts'
import { until } from '../support/wait.ts'
import { besideInnocent } from './support/innocent.ts'

/*
 * An attacker who may upload begins resumable uploads and finishes none: each would keep a row, and a part of the disk,
 * for a day.
 */

const MOST = 5
/** Of one object, in bytes. */
const LARGEST = 1_000_000
/** The pool's: so many uploads may begin at the same moment without seeing each other. */
const CONNECTIONS = 10

let server: TestServer
let attacker: TusRequests
let victim: TusRequests
let anyone: TusRequests
beforeAll(async () => {
  server = await startTestServer({
    STORAGE_MAX_UNFINISHED_UPLOADS: String(MOST),
    STORAGE_MAX_UNFINISHED_SIZE: String(3 * LARGEST),
    STORAGE_MAX_FILE_SIZE: String(LARGEST),
  })
  await server.createBucket('box', { policy: 'authenticated' })
  await server.admin.unsafe(`create policy "drop box" on storage.objects for insert to anon
    with check (bucket_id = 'box')`)
})
afterAll(() => server.close())
beforeEach(async () => {
  attacker = new TusRequests(server, { token: await server.token(randomUUID()) })
  victim = new TusRequests(server, { token: await server.token(randomUUID()) })
  anyone = new TusRequests(server, { token: server.keys.anonKey })
  await server.admin`delete from storage.resumable_uploads`
  await server.admin`delete from storage.uploads`
})

const begin = (who: TusRequests, length: number | null = 10) => who.begin(randomUUID(), length)
const beginMany = (who: TusRequests, count: number, length: number | null = 10) =>
  Promise.all(Array.from({ length: count }, () => begin(who, length)))
const refused = async (who: TusRequests, length: number | null = 10) => {
  const [status, text] = await answerOf(await who.create(randomUUID(), length))
  expect([status, text]).toEqual([429, expect.stringContaining('Too many unfinished uploads')])
}
const rows = async () =>
  (await server.admin<{ count: number }[]>`select count(*)::int from storage.resumable_uploads`)[0]?.count

const versionOf = (url: string) =>
  Buffer.from(url.split('/').at(-1) ?? '', 'base64url')
    .toString()
    .slice(-36)

/** As if no request had had them for so long. */
async function letIdle(urls: string[], time = '2 hours'): Promise<void> {
  const versions = urls.map(versionOf)
  await server.admin`
    update storage.uploads set heartbeat_at = now() - ${time}::interval where version = any (${versions}::uuid[])`
  await server.admin`
    update storage.resumable_uploads set expires_at = now() + interval '24 hours' - ${time}::interval
    where id = any (${versions}::uuid[])`
}

/** Which of these uploads have bytes on the disk. */
async function stored(urls: string[]): Promise<string[]> {
  const files = await server.storedFiles()
  return urls.filter((url) => files.some((file) => file.includes(versionOf(url))))
}

describe('one caller', () => {
  it('has only so many unfinished uploads, and room again for each that is finished or ended', async () => {
    const [first = '', second = ''] = await beginMany(attacker, MOST)
    const before = await rows()
    await refused(attacker)
    expect(await rows()).toBe(before) // a refusal leaves nothing
    expect((await attacker.patch(first, 0, '0123456789')).status).toBe(204)
    expect((await attacker.terminate(second)).status).toBe(204)
    await beginMany(attacker, 2)
    await refused(attacker)
  })

  it('has only so many bytes of them, and those without a length count as the largest', async () => {
    await beginMany(attacker, 2, LARGEST)
    await begin(attacker, LARGEST / 2)
    await refused(attacker, LARGEST)
    await refused(attacker, null)
    const deferred = await begin(victim, null)
    await beginMany(victim, 2, LARGEST)
    await refused(victim, 1)
    // Once it says how long it is, the rest is free.
    const headers = { 'upload-length': '10' }
    expect((await victim.patch(deferred, 0, '01234', { headers })).status).toBe(204)
    await begin(victim, LARGEST / 2)
  })

  it('takes nothing from another, nor from who has no account, nor from the service', async () => {
    await beginMany(attacker, MOST)
    await refused(attacker)
    await beginMany(victim, MOST)
    await beginMany(anyone, MOST)
    await refused(anyone)
    await beginMany(new TusRequests(server), MOST + 3)
  })

  it('with somebody’s signed URLs takes nothing from their signer', async () => {
    const token = await server.token(randomUUID())
    const signed = await Promise.all(
      Array.from({ length: MOST + 1 }, async () => {
        const name = randomUUID()
        const response = await server.request('POST', `/object/upload/sign/box/${name}`, { token })
        const link = (await response.json()) as { token: string }
        const headers = { 'x-signature': link.token }
        const holder = new TusRequests(server, { token: null, headers }, '/upload/resumable/sign')
        return { name, holder }
      }),
    )
    for (const { name, holder } of signed.slice(1)) await holder.begin(name, 10)
    const [{ name, holder } = { name: '', holder: attacker }] = signed
    expect((await holder.create(name, 10)).status).toBe(429)
    await beginMany(new TusRequests(server, { token }), MOST)
  })

  it('who may not upload hears only that', async () => {
    await beginMany(attacker, MOST)
    await server.createBucket('closed')
    expect((await attacker.create({ bucket: 'closed', name: 'a' }, 10)).status).toBe(403)
  })

  it('that begins many at once gets hardly more', async () => {
    const answers = await Promise.all(Array.from({ length: 60 }, () => attacker.create(randomUUID(), 10)))
    const welcome = answers.filter(({ status }) => status === 201).length
    expect(welcome).toBeGreaterThanOrEqual(MOST)
    expect(welcome).toBeLessThanOrEqual(MOST + CONNECTIONS)
    for (const { status } of answers) expect([201, 429]).toContain(status)
    await refused(attacker)
  })
})

describe('an upload that is idle', () => {
  it('makes room when its caller has too many, and only then; its rows and bytes are cleaned up', async () => {
    const idle = await beginMany(attacker, 2)
    const [kept = ''] = await beginMany(attacker, 1)
    const [other = ''] = await beginMany(victim, 1)
    for (const url of [...idle, kept]) expect((await attacker.patch(url, 0, '01234')).status).toBe(204)
    await letIdle([...idle, other])
    await letIdle([kept], '30 minutes')
    const more = await beginMany(attacker, MOST - 3)
    for (const url of idle) expect((await attacker.head(url)).status).toBe(200)
    expect(await stored(idle)).toEqual(idle)

    await begin(attacker)
    for (const url of idle) expect((await attacker.head(url)).status).toBe(410)
    for (const url of [kept, ...more]) expect((await attacker.head(url)).status).toBe(200)
    expect((await victim.head(other)).status).toBe(200)

    await cleanUp(server)
    expect(await stored([...idle, kept])).toEqual([kept])
    const left =
      await server.admin`select version from storage.uploads where version = any (${idle.map(versionOf)}::uuid[])`
    expect(left).toEqual([])
  })

  it('stays as long as a request has it, however long that brings nothing', async () => {
    const [held = '', ...idle] = await beginMany(attacker, MOST)
    await letIdle([held, ...idle])
    const line = await attacker.stall(held, 0, 10, Buffer.from('01234'))
    const attempt = async () =>
      (await server.admin`select attempt from storage.resumable_uploads where id = ${versionOf(held)}`)[0]
        ?.attempt
    await until(async () => Number(await attempt()) > 0, 'a request has it')
    await begin(attacker)
    expect((await attacker.head(idle[0] ?? '')).status).toBe(410)
    expect((await attacker.head(held)).status).toBe(200)
    line.abort()
  })
})

it('tus-js-client gives up at once, and says why', async () => {
  const token = await server.token(randomUUID())
  await beginMany(new TusRequests(server, { token }), MOST)
  const upload = startUpload(Buffer.from('0123456789'), {
    endpoint: `${server.url}/storage/v1/upload/resumable`,
    retryDelays: [0, 0, 0],
    headers: { authorization: `Bearer ${token}` },
    metadata: { bucketName: 'box', objectName: randomUUID() },
  })
  expect(await refusal(upload)).toEqual({ status: 429, text: expect.stringContaining('finish or end some') })
  expect(upload.sent).toEqual(['POST'])
})

it('an innocent client uploads on while others begin what they never finish', async () => {
  const { uploads } = await besideInnocent(server, async () => {
    for (let round = 0; round < 10; round++) {
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          const response = await attacker.create(randomUUID(), 10)
          await response.arrayBuffer()
          expect([201, 429]).toContain(response.status)
        }),
      )
      const url = await begin(victim)
      expect((await victim.patch(url, 0, '0123456789')).status).toBe(204)
    }
  })
  expect(uploads).toBeGreaterThan(0)
})
