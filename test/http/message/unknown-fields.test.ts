import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'

const move = { bucketId: 'box', sourceKey: 'a.txt', destinationKey: 'b.txt' }

/** Each with a slip in one field, and what is said of it. */
const SLIPS: [method: string, path: string, body: object, message: string][] = [
  [
    'POST',
    '/bucket',
    { name: 'slip', fileSizeLimit: 5 },
    'body must not have the field fileSizeLimit: did you mean file_size_limit?',
  ],
  ['PUT', '/bucket/box', { publik: true }, 'body must not have the field publik: did you mean public?'],
  [
    'PATCH',
    '/bucket/box',
    { public: false, quota: 5 },
    'body must not have the field quota: it may have policy, public, file_size_limit,',
  ],
  [
    'POST',
    '/object/sign/box/a.txt',
    { expires_in: 60 },
    'body must not have the field expires_in: did you mean expiresIn?',
  ],
  ['POST', '/object/sign/box/a.txt?expires_in=60', { expires: 1 }, 'body must not have the field expires: '],
  [
    'POST',
    '/object/sign/box',
    { expiresIn: 60, path: ['a.txt'] },
    'body must not have the field path: did you mean paths?',
  ],
  [
    'POST',
    '/object/list/box',
    { prefix: '', sort_by: {} },
    'body must not have the field sort_by: did you mean sortBy?',
  ],
  [
    'POST',
    '/object/list/box',
    { prefix: '', sortBy: { column: 'name', ordr: 'asc' } },
    'body/sortBy must not have the field ordr: did you mean order?',
  ],
  ['POST', '/object/list-v2/box', { withDelimiter: true }, 'did you mean with_delimiter?'],
  ['POST', '/object/move', { ...move, destinationBuckt: 'other' }, 'did you mean destinationBucket?'],
  ['POST', '/object/copy', { ...move, copyMetdata: false }, 'did you mean copyMetadata?'],
  [
    'POST',
    '/object/copy',
    { ...move, copyMetadata: false, metadata: { contentType: 'text/plain' } },
    'body/metadata must not have the field contentType: ',
  ],
  ['DELETE', '/object/box', { prefix: ['a.txt'] }, 'did you mean prefixes?'],
  ['POST', '/webhook', { url: 'https://example.com', evnts: [] }, 'did you mean events?'],
]

/** What the SDKs of Supabase send besides. */
const EXTRAS: [method: string, path: string, body: object][] = [
  // C#: its model of a bucket, whole.
  [
    'POST',
    '/bucket',
    { id: 'whole', name: 'whole', owner: null, created_at: null, updated_at: null, public: false },
  ],
  // JavaScript, Dart, Swift.
  ['PUT', '/bucket/box', { id: 'box', name: 'box', public: false, file_size_limit: null }],
  // JavaScript and Kotlin; Python.
  ['POST', '/object/sign/box/a.txt', { expiresIn: 60, transform: { width: 10, resize: 'cover' } }],
  ['POST', '/object/sign/box/a.txt', { expiresIn: '60', download: true }],
  ['POST', '/object/sign/box', { expiresIn: '60', paths: ['a.txt'], download: 'other.txt' }],
]

describe('a field that nobody knows', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer()
    await server.createBucket('box')
    expect((await server.request('PUT', '/object/box/a.txt', { body: 'hello' })).ok).toBe(true)
  })
  afterAll(() => server.close())

  it.each(SLIPS)('in %s %s %j is refused, and the nearest one named', async (method, path, body, message) => {
    const response = await server.request(method, path, { body })
    const answer = await response.json()
    expect([response.status, answer]).toEqual([
      400,
      expect.objectContaining({ code: 'InvalidRequest', message: expect.stringContaining(message) }),
    ])
    expect(await server.admin`select from storage.buckets where id = 'slip'`).toHaveLength(0)
    expect(await server.admin`select from storage.objects`).toHaveLength(1)
  })

  it.each(EXTRAS)('by us but by an SDK, in %s %s %j, means nothing', async (method, path, body) => {
    expect((await server.request(method, path, { body })).ok).toBe(true)
  })

  it('is none when an answer is sent back as it was', async () => {
    const bucket = (await (await server.request('GET', '/bucket/box?stats=true')).json()) as object
    const response = await server.request('PUT', '/bucket/box', { body: { ...bucket, public: true } })
    expect([response.status, await response.json()]).toEqual([200, { message: 'Successfully updated' }])
  })

  it('is not repeated into a log or a terminal as it is', async () => {
    const response = await server.request('PUT', '/bucket/box', { body: { ['\u001b[1m'.repeat(9999)]: 1 } })
    const { message } = (await response.json()) as { message: string }
    expect(message).not.toContain('\u001b')
    expect(message.length).toBeLessThan(2000)
  })
})

describe('under STORAGE_COMPAT=supabase a field that nobody knows', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer({ STORAGE_COMPAT: 'supabase' })
    await server.createBucket('box')
    expect((await server.request('PUT', '/object/box/a.txt', { body: 'hello' })).ok).toBe(true)
  })
  afterAll(() => server.close())

  it.each<[method: string, path: string, body: object]>([
    ...EXTRAS,
    ['POST', '/bucket', { name: 'other', fileSizeLimit: 5 }],
    ['PUT', '/bucket/box', { public: true, quota: 5 }],
    ['POST', '/object/sign/box/a.txt?expires_in=60', { expires: 1 }],
    ['POST', '/object/list/box', { prefix: '', sort_by: {}, sortBy: { column: 'name', ordr: 'asc' } }],
    ['POST', '/object/copy', { ...move, metadata: { contentType: 'text/plain' }, extra: 1 }],
  ])('in %s %s %j means nothing, as there', async (method, path, body) => {
    const response = await server.request(method, path, { body })
    expect([response.status, await response.text()]).toEqual([200, expect.any(String)])
  })

  it('alone is still too little', async () => {
    const response = await server.request('PUT', '/bucket/box', { body: { quota: 5 } })
    expect([response.status, await response.json()]).toEqual([
      400,
      expect.objectContaining({ message: expect.stringContaining('must name at least one of') }),
    ])
  })
})
