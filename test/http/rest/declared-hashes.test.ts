import { createHash } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { field, file, form, MULTIPART } from '../../support/multipart.ts'
import { seededBytes } from '../../support/seeded-bytes.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift } from '../../support/traces.ts'
import { TusRequests } from '../../support/tus-requests.ts'

const digest = (algorithm: string, bytes: Uint8Array) => createHash(algorithm).update(bytes).digest('base64')
const hex = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** In the database, a file that is read first, and one that is streamed. */
const SIZES = [10, 100_000, 1_000_000]

/** A header with a hash of bytes. */
const HEADERS: [name: string, of: (bytes: Uint8Array) => string][] = [
  ['x-content-sha256', hex],
  ['x-content-sha256', (bytes) => hex(bytes).toUpperCase()],
  ['content-digest', (bytes) => `sha-256=:${digest('sha256', bytes)}:`],
  ['content-digest', (bytes) => `unknown=:AAAA:, sha-512=:${digest('sha512', bytes)}:`],
  ['repr-digest', (bytes) => `sha-256=:${digest('sha256', bytes)}:;p=1, md5=:${digest('md5', bytes)}:`],
  ['content-md5', (bytes) => digest('md5', bytes)],
]

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket('box')
  await server.createBucket('open', { public: true })
})
afterEach(() => expectNoDrift(server))
afterAll(() => server.close())

let names = 0
const newName = () => `object-${++names}`

const put = (name: string, bytes: Buffer, headers: Record<string, string>) =>
  fetch(`${server.url}/object/box/${name}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${server.keys.serviceKey}`, ...headers },
    body: new Uint8Array(bytes),
  })

async function expectNothing(name: string, refused: Response): Promise<void> {
  expect(refused.status).toBe(400)
  expect(await refused.json()).toMatchObject({ code: 'InvalidChecksum' })
  const { status } = await server.request('HEAD', `/object/box/${name}`)
  expect(status).toBe(404)
  const rows = await server.admin`select from storage.objects where name = ${name}`
  expect(rows).toHaveLength(0)
}

describe.each(SIZES)('an upload of %i bytes', (size) => {
  const bytes = seededBytes('right', size)
  const wrong = seededBytes('wrong', size)

  it.each(HEADERS)(
    'whose %s is right is stored, and of one whose is not nothing is kept',
    async (header, of) => {
      const name = newName()
      const stored = await server.storedFiles()
      await expectNothing(name, await put(name, bytes, { [header]: of(wrong) }))
      expect((await server.storedFiles()).sort()).toEqual(stored.sort())
      expect((await put(name, bytes, { [header]: of(bytes) })).status).toBe(201)
      const read = await server.request('GET', `/object/box/${name}`)
      expect(Buffer.from(await read.arrayBuffer()).equals(bytes)).toBe(true)
    },
  )

  it('replaces nothing with bytes of another hash', async () => {
    const name = newName()
    await put(name, wrong, {})
    expect((await put(name, bytes, { 'x-content-sha256': hex(wrong) })).status).toBe(400)
    const read = await server.request('GET', `/object/box/${name}`)
    expect(Buffer.from(await read.arrayBuffer()).equals(wrong)).toBe(true)
  })

  it('in a form may have its hash in a field, before the file or behind it', async () => {
    const post = (name: string, body: Buffer) => {
      const [type = '', value = ''] = MULTIPART.split(': ')
      return fetch(`${server.url}/object/box/${name}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${server.keys.serviceKey}`, [type]: value },
        body: new Uint8Array(body),
      })
    }
    for (const isRight of [false, true]) {
      const hash = hex(isRight ? bytes : wrong)
      const name = newName()
      const answer = await post(name, form(field('content_hash', hash), file(bytes)))
      if (isRight) expect(answer.status).toBe(201)
      else await expectNothing(name, answer)
      const behind = newName()
      const late = await post(behind, form(file(bytes), field('content_hash', hash)))
      if (isRight) expect(late.status).toBe(201)
      else await expectNothing(behind, late)
    }
  })
})

it.each([
  ['x-content-sha256', 'abc'],
  ['content-digest', 'sha-256=abc'],
  ['content-digest', 'sha-256=:AAAA:'],
  ['repr-digest', 'nothing'],
  ['content-md5', 'AAAA'],
])('%s: %s is no hash, and refused before the body', async (header, value) => {
  const name = newName()
  await expectNothing(name, await put(name, Buffer.from('bytes'), { [header]: value }))
})

it('a signed upload is held against its hash as well', async () => {
  const name = newName()
  const signed = await server.request('POST', `/object/upload/sign/box/${name}`)
  const { url } = (await signed.json()) as { url: string }
  const send = (hash: string) =>
    server.request('PUT', url, { token: null, headers: { 'x-content-sha256': hash }, body: 'bytes' })
  await expectNothing(name, await send(hex(Buffer.from('other'))))
  expect((await send(hex(Buffer.from('bytes')))).ok).toBe(true)
})

describe('a resumable upload', () => {
  const chunk = { 'content-type': 'application/offset+octet-stream' }
  const bytes = Buffer.from('all the bytes')

  async function upload(name: string, hash: string): Promise<{ answer: Response; location: string }> {
    const tus = new TusRequests(server)
    const metadata = { bucketName: 'box', objectName: name, content_hash: hash }
    const created = await tus.create(name, bytes.length, { metadata })
    const location = created.headers.get('location') ?? ''
    await tus.send('PATCH', location, {
      headers: { ...chunk, 'upload-offset': '0' },
      body: bytes.subarray(0, 5),
    })
    const answer = await tus.send('PATCH', location, {
      headers: { ...chunk, 'upload-offset': '5' },
      body: bytes.subarray(5),
    })
    return { answer, location }
  }

  it('is held against the hash in its metadata at its end, and has ended when it is another', async () => {
    const name = newName()
    const { answer, location } = await upload(name, hex(Buffer.from('other')))
    expect(answer.status).toBe(400)
    expect(await answer.text()).toBe('The bytes do not have the hash that was declared; nothing was kept')
    expect((await server.request('HEAD', `/object/box/${name}`)).status).toBe(404)
    const look = await new TusRequests(server).send('HEAD', location)
    expect(look.status).toBe(410)
    expect(await server.admin`select from storage.objects where name = ${name}`).toHaveLength(0)
  })

  it('is stored when it is right', async () => {
    const name = newName()
    expect((await upload(name, hex(bytes))).answer.status).toBe(204)
    expect(await (await server.request('GET', `/object/box/${name}`)).text()).toBe(bytes.toString())
  })
})

describe('a download', () => {
  const bytes = Buffer.from('the whole object')
  const expected = `sha-256=:${digest('sha256', bytes)}:`
  beforeAll(async () => {
    await server.request('PUT', '/object/open/whole', { body: bytes.toString() })
  })

  it.each([
    ['of a public bucket', '/object/public/open/whole', {}],
    ['for a token', '/object/open/whole', {}],
    ['of a range', '/object/open/whole', { range: 'bytes=1-2' }],
  ])('%s says the digest of the whole', async (_what, path, headers: Record<string, string>) => {
    for (const method of ['GET', 'GET', 'HEAD']) {
      const answer = await server.request(method, path, { headers })
      expect(answer.headers.get('repr-digest')).toBe(expected)
    }
  })

  it('that is not needed says nothing of it', async () => {
    const etag = (await server.request('GET', '/object/open/whole')).headers.get('etag') ?? ''
    const answer = await server.request('GET', '/object/open/whole', { headers: { 'if-none-match': etag } })
    expect([answer.status, answer.headers.get('repr-digest')]).toEqual([304, null])
  })

  it('of a row that plain SQL has made says none that it has not', async () => {
    await server.request('PUT', '/object/open/changed', { body: 'changed' })
    await server.admin`update storage.objects set checksum = null where name = 'changed'`
    const answer = await server.request('GET', '/object/open/changed')
    expect([answer.status, answer.headers.get('repr-digest')]).toEqual([200, null])
  })
})
