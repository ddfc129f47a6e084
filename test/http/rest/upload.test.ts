import { createHash, randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { field, file, form, MULTIPART, part } from '../../support/multipart.ts'
import { chunk, exchange, type RawResponse, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift } from '../../support/traces.ts'

let server: TestServer
let auth: string

beforeAll(async () => {
  server = await startTestServer()
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box')
})

afterAll(async () => {
  await expectNoDrift(server)
  await server.close()
})

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

const FORMS = {
  raw: (name: string, bytes: Buffer) => rawRequest('POST', `/object/box/${name}`, [auth], bytes),
  chunked: (name: string, bytes: Buffer) =>
    Buffer.concat([
      rawRequest('POST', `/object/box/${name}`, [auth, 'Transfer-Encoding: chunked']),
      ...Array.from({ length: Math.ceil(bytes.length / 60_000) }, (_, n) =>
        chunk(bytes.subarray(n * 60_000, (n + 1) * 60_000)),
      ),
      chunk(''),
    ]),
  multipart: (name: string, bytes: Buffer) =>
    rawRequest('POST', `/object/box/${name}`, [auth, MULTIPART], form(file(bytes))),
}

/** Around the length of a request from which its body is streamed, and around one write to the disk. */
const SIZES = [0, 1, 262_143, 262_144, 262_145, 524_288, 1_500_000]

describe.each(Object.keys(FORMS) as (keyof typeof FORMS)[])('a %s upload', (way) => {
  it.each(SIZES)('of %i bytes is stored and read back whole, with its checksum', async (size) => {
    const bytes = randomBytes(size)
    const name = `${way}-${size}.bin`
    const response = await exchange(server.url, FORMS[way](name, bytes))
    expect(response.json()).toMatchObject({ size, checksum: sha256(bytes), path: name, bucket: 'box' })
    expect(response.status).toBe(201)
    const download = await exchange(server.url, rawRequest('GET', `/object/box/${name}`, [auth]))
    expect(download.body.equals(bytes)).toBe(true)
    const [row] = await server.admin`select * from storage.objects where name = ${name}`
    expect(row).toMatchObject({ checksum: sha256(bytes), metadata: { size, contentLength: size } })
  })
})

async function send(method: string, path: string, headers: string[], body: string | Buffer = 'hello') {
  return exchange(server.url, rawRequest(method, path, [auth, ...headers], body))
}

const uploaded = (response: RawResponse) => [response.status, response.json()] as const

describe('the answer', () => {
  it('has Supabase’s two fields and the object itself', async () => {
    const headers = ['Content-Type: text/css', 'X-Metadata: eyJ0aXRsZSI6Iml0cyJ9']
    const [status, body] = uploaded(await send('POST', '/object/box/answer/a.css', headers))
    const uuid = expect.stringMatching(/^[0-9a-f-]{36}$/)
    const moment = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(body).toEqual({
      Id: uuid,
      Key: 'box/answer/a.css',
      id: body.Id,
      bucket: 'box',
      path: 'answer/a.css',
      size: 5,
      content_type: 'text/css',
      checksum: sha256(Buffer.from('hello')),
      owner_id: null,
      metadata: { title: 'its' },
      created_at: moment,
      updated_at: moment,
    })
    expect(status).toBe(201)
    const [row] = await server.admin`select id, created_at from storage.objects where name = 'answer/a.css'`
    expect([row?.id, new Date(row?.created_at).toISOString()]).toEqual([body.id, body.created_at])
  })

  it.each<[what: string, method: string, headers: string[], first: number, second: number]>([
    ['POST', 'POST', [], 201, 409],
    ['POST with x-upsert', 'POST', ['X-Upsert: true'], 201, 201],
    ['POST with x-upsert: TRUE', 'POST', ['X-Upsert: TRUE'], 201, 409],
    ['POST with x-upsert: false', 'POST', ['X-Upsert: false'], 201, 409],
    ['PUT', 'PUT', [], 201, 200],
    ['PUT with x-upsert: false', 'PUT', ['X-Upsert: false'], 201, 200],
  ])('%s: first %i, then %i', async (what, method, headers, first, second) => {
    for (const size of [10, 300_000]) {
      const path = `/object/box/${encodeURIComponent(what)}-${size}`
      const one = await send(method, path, headers, Buffer.alloc(size, '1'))
      const two = await send(method, path, headers, Buffer.alloc(size, '2'))
      expect([one.status, two.status]).toEqual([first, second])
      const now = await server.request('GET', path)
      expect((await now.text())[0]).toBe(second === 409 ? '1' : '2')
      if (second !== 409) expect(two.json().id).toBe(one.json().id)
    }
  })

  it('knows the owner by the token, and an overwrite without one keeps it', async () => {
    await server.createBucket('shared', { public: true })
    await server.admin.unsafe(
      `create policy any_upload on storage.objects to authenticated using (bucket_id = 'shared') with check (bucket_id = 'shared')`,
    )
    const path = '/object/shared/owned.txt'
    const token = await server.token('user-7')
    const first = await server.request('POST', path, { body: 'a', token })
    const second = await server.request('PUT', path, { body: 'b' })
    const owners = [await first.json(), await second.json()].map(
      (body) => (body as { owner_id: string }).owner_id,
    )
    expect(owners).toEqual(['user-7', 'user-7'])
  })
})

/** The head of a file's part that says no type. */
const UNTYPED = 'Content-Disposition: form-data; name=""; filename="blob"'

describe('what is said about the bytes', () => {
  it.each<[what: string, name: string, headers: string[], type: string]>([
    ['the header', 'a.txt', ['Content-Type: image/x-own'], 'image/x-own'],
    [
      'the header with parameters',
      'a.txt',
      ['Content-Type: text/csv; charset=latin1'],
      'text/csv; charset=latin1',
    ],
    ['the name', 'photos/a.JPG', [], 'image/jpeg'],
    ['the last ending', 'a.tar.gz', [], 'application/gzip'],
    ['nothing, for an unknown ending', 'a.own', [], 'application/octet-stream'],
    ['nothing, for a name that is only an ending', '.png', [], 'application/octet-stream'],
    ['nothing, for an ending in a folder', 'a.png/b', [], 'application/octet-stream'],
  ])('the type comes from %s', async (_what, name, headers, type) => {
    const response = await send('PUT', `/object/box/types/${name}`, headers)
    expect(response.json().content_type).toBe(type)
    const download = await server.request('GET', `/object/box/types/${name}`)
    expect(download.headers.get('content-type')).toBe(type)
  })

  it.each<[what: string, parts: Buffer[], type: string]>([
    ['the field', [field('contentType', 'image/x-own'), file('hi', 'text/plain')], 'image/x-own'],
    [
      'the field, behind the file',
      [file('hi', 'text/plain'), field('contentType', 'image/x-own')],
      'image/x-own',
    ],
    ['the part', [file('hi', 'image/x-part')], 'image/x-part'],
    ['the part, with its parameters', [file('hi', 'text/vtt;charset=utf-8')], 'text/vtt;charset=utf-8'],
    ['the part, whole', [file('hi', 'audio/WebM; codecs="opus, vp9"')], 'audio/WebM; codecs="opus, vp9"'],
    [
      'the part, and not another',
      [
        part('Content-Disposition: form-data; name="note"\r\nContent-Type: text/x-note', 'n'),
        field('cacheControl', '60'),
        file('hi', 'text/vtt;charset=utf-8'),
        part('Content-Disposition: form-data; name="more"\r\nContent-Type: text/x-more', 'm'),
      ],
      'text/vtt;charset=utf-8',
    ],
    ['the name, if the part has none', [part(UNTYPED, 'hi')], 'image/png'],
    ['the name, if that of the part is empty', [part(`${UNTYPED}\r\nContent-Type: `, 'hi')], 'image/png'],
  ])('in a form, the type comes from %s', async (_what, parts, type) => {
    const response = await send('PUT', '/object/box/form.png', [MULTIPART], form(...parts))
    expect(response.json().content_type).toBe(type)
  })

  it('a form whose part has a type that is none is refused', async () => {
    const response = await send('PUT', '/object/box/form.png', [MULTIPART], form(file('hi', 'text/plain; x')))
    expect([response.status, response.json().code]).toEqual([415, 'InvalidMimeType'])
  })

  it.each([true, false])('a form’s fields count before and behind the file (%s)', async (before) => {
    const fields = [
      field('cacheControl', '77'),
      field('contentEncoding', 'gzip'),
      field('metadata', '{"a":[1,{"ü":"图"}]}'),
    ]
    const parts = before ? [...fields, file('hi')] : [file('hi'), ...fields]
    const response = await send('PUT', '/object/box/fields.txt', [MULTIPART], form(...parts))
    expect(response.json().metadata).toEqual({ a: [1, { ü: '图' }] })
    const head = await server.request('HEAD', '/object/box/fields.txt')
    expect(head.headers.get('cache-control')).toBe('max-age=77')
    expect(head.headers.get('content-encoding')).toBe('gzip')
  })

  it('cache-control, content-encoding and x-robots-tag are kept as sent and sent with every download', async () => {
    const said = {
      'cache-control': 'public, max-age=9',
      'content-encoding': 'br',
      'x-robots-tag': 'noindex, nofollow',
    }
    const lines = Object.entries(said).map(([name, value]) => `${name}: ${value}`)
    await send('PUT', '/object/box/said.txt', lines)
    const raw = await exchange(server.url, rawRequest('GET', '/object/box/said.txt', [auth]))
    expect(raw.headers).toMatchObject(said)
    // Never decoded: what came is what goes.
    expect(raw.body.toString()).toBe('hello')
    await send('PUT', '/object/box/said.txt', [])
    const again = await exchange(server.url, rawRequest('GET', '/object/box/said.txt', [auth]))
    expect(again.headers).toMatchObject({ 'cache-control': 'no-cache', 'x-robots-tag': 'none' })
    expect(again.headers['content-encoding']).toBeUndefined()
  })

  it.each([
    ['UTF-8', 'utf8', 'café 图'],
    ['Latin-1, as btoa makes it', 'latin1', 'café'],
  ] as const)('user metadata may come in %s', async (_what, encoding, text) => {
    const header = Buffer.from(JSON.stringify({ text }), encoding).toString('base64')
    const response = await send('PUT', '/object/box/letters.txt', [`X-Metadata: ${header}`])
    expect(response.json().metadata).toEqual({ text })
  })

  it('user metadata is replaced as a whole: an update that sends none leaves {}', async () => {
    const path = '/object/box/metadata.txt'
    const encode = (value: object) => `X-Metadata: ${Buffer.from(JSON.stringify(value)).toString('base64')}`
    const read = async () =>
      ((await (await server.request('GET', '/object/info/box/metadata.txt')).json()) as { metadata: unknown })
        .metadata
    await send('PUT', path, [encode({ a: 1, b: 2 })])
    expect(await read()).toEqual({ a: 1, b: 2 })
    await send('PUT', path, [encode({ c: 3 })])
    expect(await read()).toEqual({ c: 3 })
    await send('PUT', path, [])
    expect(await read()).toEqual({})
  })

  it('JSON and text are stored as bytes, never parsed', async () => {
    for (const type of [
      'application/json',
      'text/plain',
      'application/x-www-form-urlencoded;charset=utf-8',
      'multipart/mixed',
    ]) {
      const response = await send('PUT', '/object/box/bytes', [`Content-Type: ${type}`], '{"not json')
      expect([response.json().size, response.json().content_type]).toEqual([10, type])
    }
  })

  it('what curl says of `-d` is no type: the name tells it, and the bucket may take it then', async () => {
    const said = ['Content-Type: application/x-www-form-urlencoded']
    for (const [name, type] of [
      ['notes.txt', 'text/plain'],
      ['photo.PNG', 'image/png'],
      ['bytes', 'application/octet-stream'],
    ]) {
      const response = await send('PUT', `/object/box/${name}`, said)
      expect([name, response.json().content_type]).toEqual([name, type])
    }
    await server.createBucket('pictures', { allowed_mime_types: ['image/*'] })
    expect((await send('POST', '/object/pictures/a.png', said)).status).toBe(201)
    expect((await send('POST', '/object/pictures/a.txt', said)).status).toBe(415)
  })

  it('x-amz-decoded-content-length means nothing here', async () => {
    const response = await send('PUT', '/object/box/amz', ['X-Amz-Decoded-Content-Length: 1'])
    expect(response.json().size).toBe(5)
  })
})

describe('STORAGE_COMPAT=supabase', () => {
  it('answers 200 with two fields, and takes ASCII names only', async () => {
    const compat = await startTestServer({ STORAGE_COMPAT: 'supabase' })
    try {
      await compat.createBucket('box')
      const made = await compat.request('POST', '/object/box/a.txt', { body: 'hello' })
      expect(made.status).toBe(200)
      expect(await made.json()).toEqual({ Id: expect.any(String), Key: 'box/a.txt' })
      const refused = await compat.request('POST', '/object/box/%E5%9B%BE.png', { body: 'hello' })
      expect(refused.status).toBe(400)
      expect(await refused.json()).toMatchObject({
        statusCode: '400',
        code: 'InvalidKey',
        message: 'Invalid key: 图.png',
      })
      expect(await compat.storedFiles()).toHaveLength(1)
    } finally {
      await compat.close()
    }
  })
})
