import { Readable } from 'node:stream'
import type { StorageClient } from '@supabase/storage-js'
import { expect, it } from 'vitest'
import { describeClientInBothModes, ok, refused, textOf } from './describe-client.ts'

type Files = ReturnType<StorageClient['from']>
type Body = Parameters<Files['upload']>[1]

const TEXT = 'Hello, wörld 🌍'
const BYTES = new TextEncoder().encode(TEXT)
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** What storage-js sends where it is not told a content type. */
const DEFAULT_TYPE = 'text/plain;charset=UTF-8'

/** What it sends for a Blob without one. */
const NO_TYPE = 'application/octet-stream'

/** The same text in the middle of a larger buffer. */
function inside(): ArrayBuffer {
  const larger = new Uint8Array(BYTES.length + 20).fill(120)
  larger.set(BYTES, 10)
  return larger.buffer
}

function form(...fields: [string, string | Blob][]): FormData {
  const body = new FormData()
  for (const [name, value] of fields) {
    if (typeof value === 'string') body.append(name, value)
    else body.append(name, value, 'photo.png')
  }
  return body
}

/** What `upload` and `update` take, and the content type that is stored. */
const BODIES: [kind: string, make: () => Body, type: string][] = [
  ['string', () => TEXT, DEFAULT_TYPE],
  ['ArrayBuffer', () => BYTES.slice().buffer, DEFAULT_TYPE],
  ['Uint8Array', () => BYTES, DEFAULT_TYPE],
  ['Uint8Array in a larger buffer', () => new Uint8Array(inside(), 10, BYTES.length), DEFAULT_TYPE],
  ['DataView', () => new DataView(inside(), 10, BYTES.length), DEFAULT_TYPE],
  ['Buffer', () => Buffer.from(TEXT), DEFAULT_TYPE],
  ['Blob', () => new Blob([BYTES], { type: 'image/webp' }), 'image/webp'],
  ['Blob without a type', () => new Blob([BYTES]), NO_TYPE],
  ['File', () => new File([BYTES], 'photo.png', { type: 'image/png' }), 'image/png'],
  ['FormData', () => form(['file', new Blob([BYTES], { type: 'image/png' })]), 'image/png'],
  ['web stream', () => new Blob([BYTES]).stream(), DEFAULT_TYPE],
  ['Node stream', () => Readable.from([BYTES.subarray(0, 3), BYTES.subarray(3)]), DEFAULT_TYPE],
]

describeClientInBothModes((clients) => {
  async function files(settings?: Record<string, unknown>): Promise<Files> {
    return clients.service.from(await clients.bucket(settings))
  }

  it.each(BODIES)('stores a %s as it was given', async (_kind, make, type) => {
    const bucket = await clients.bucket()
    const of = clients.service.from(bucket)

    const stored = ok(await of.upload('folder/photo.png', make()))

    expect(stored).toEqual({
      id: expect.stringMatching(UUID),
      path: 'folder/photo.png',
      fullPath: `${bucket}/folder/photo.png`,
    })
    const info = ok(await of.info('folder/photo.png'))
    // Where that says nothing, the name does.
    const contentType = type === NO_TYPE && !clients.isSupabase ? 'image/png' : type
    expect(info).toMatchObject({ id: stored.id, size: BYTES.length, contentType })
    expect(info.cacheControl).toBe('max-age=3600')
    const blob = ok(await of.download('folder/photo.png'))
    expect([await blob.text(), blob.type]).toEqual([TEXT, contentType.toLowerCase()])
  })

  it.each(BODIES)('replaces an object by a %s with update', async (_kind, make, type) => {
    const of = await files()
    const first = ok(await of.upload('a', 'first', { metadata: { old: true } }))
    const before = await clients.stored()

    const second = ok(await of.update('a', make()))

    expect(second.id).toBe(first.id)
    expect(await textOf(of, 'a')).toBe(TEXT)
    expect(ok(await of.info('a'))).toMatchObject({ size: BYTES.length, contentType: type, metadata: {} })
    expect(await clients.stored()).toEqual(before)
  })

  it('stores URLSearchParams as their text', async () => {
    const of = await files()
    ok(await of.upload('query', new URLSearchParams({ a: '1 2', b: 'ü' })))

    expect(await textOf(of, 'query')).toBe('a=1+2&b=%C3%BC')
  })

  it.each([
    ['string', () => ''],
    ['Blob', () => new Blob([])],
    ['stream', () => Readable.from([])],
  ])('stores an empty %s', async (_kind, make: () => Body) => {
    const of = await files()
    ok(await of.upload('empty.bin', make()))

    expect(ok(await of.info('empty.bin')).size).toBe(0)
    expect(ok(await of.download('empty.bin')).size).toBe(0)
  })

  it('stores 3 MB that arrive as a form, and as a stream', async () => {
    const of = await files()
    const bytes = Buffer.alloc(3_000_000, 'all work and no play ')
    ok(await of.upload('form', new Blob([bytes])))
    ok(await of.upload('stream', Readable.from(bytes)))

    for (const name of ['form', 'stream']) {
      const back = Buffer.from(await ok(await of.download(name)).arrayBuffer())
      expect(back.equals(bytes), name).toBe(true)
    }
  })

  it.each([
    ['string', () => 'x', 'application/x-own'],
    ['Blob', () => new Blob(['x'], { type: 'image/gif' }), 'image/gif'],
    ['FormData', () => form(['file', new Blob(['x'], { type: 'image/gif' })]), 'image/gif'],
  ])('keeps type, cache control and metadata given with a %s', async (_kind, make: () => Body, type) => {
    const of = await files()
    const metadata = { title: 'Žluťoučký kůň 🐎', nested: { list: [1, null, 'two'] } }

    ok(await of.upload('a', make(), { contentType: 'application/x-own', cacheControl: '120', metadata }))

    expect(ok(await of.info('a'))).toMatchObject({ contentType: type, cacheControl: 'max-age=120', metadata })
  })

  it.each([
    ['120', 'max-age=120'],
    ['120, must-revalidate', 'max-age=120, must-revalidate'],
    ['public, max-age=60', 'public, max-age=60'],
    ['max-age=60, immutable', 'max-age=60, immutable'],
    ['no-store', 'no-store'],
    ['', 'no-cache'],
  ])('keeps the cache control %j alike, however the bytes come', async (cacheControl, kept) => {
    const of = await files()
    const { token } = ok(await of.createSignedUploadUrl('signed'))
    ok(await of.upload('raw', 'x', { cacheControl }))
    ok(await of.upload('form', new Blob(['x']), { cacheControl }))
    ok(await of.upload('fields', form(['cacheControl', cacheControl], ['file', new Blob(['x'])])))
    ok(await of.uploadToSignedUrl('signed', token, 'x', { cacheControl }))

    for (const name of ['raw', 'form', 'fields', 'signed']) {
      expect([name, ok(await of.info(name)).cacheControl]).toEqual([name, kept])
    }
  })

  it.each(['text/vtt;charset=utf-8', 'audio/webm;codecs=opus'])(
    'keeps the type %s of a Blob whole',
    async (type) => {
      const of = await files()
      ok(await of.upload('a', new Blob(['x'], { type })))
      ok(await of.upload('b', form(['file', new Blob(['x'], { type })])))

      for (const name of ['a', 'b']) expect(ok(await of.info(name)).contentType).toBe(type)
    },
  )

  it('reads the fields of a form wherever they stand', async () => {
    const of = await files()
    const photo = new Blob(['pixels'], { type: 'image/png' })
    const metadata = JSON.stringify({ album: 'summer' })
    const settings: [string, string][] = [
      ['cacheControl', '60'],
      ['contentType', 'image/x-own'],
      ['metadata', metadata],
    ]
    ok(await of.upload('before', form(...settings, ['file', photo])))
    ok(await of.upload('behind', form(['file', photo], ...settings)))
    ok(await of.upload('around', form(['userMetadata', metadata], ['', photo], ...settings.slice(0, 2))))

    for (const name of ['before', 'behind', 'around']) {
      expect(await textOf(of, name)).toBe('pixels')
      expect(ok(await of.info(name)), name).toMatchObject({
        contentType: 'image/x-own',
        cacheControl: 'max-age=60',
        metadata: { album: 'summer' },
      })
    }
  })

  it('sends extra headers along', async () => {
    const of = await files({ public: true })
    ok(await of.upload('a.txt', 'x', { headers: { 'X-Robots-Tag': 'noindex, nofollow' } }))
    ok(await of.upload('b.txt', 'x', { headers: { 'Cache-Control': 'private' } }))

    const robots = await fetch(of.getPublicUrl('a.txt').data.publicUrl)
    expect(robots.headers.get('x-robots-tag')).toBe('noindex, nofollow')
    const cached = await fetch(of.getPublicUrl('b.txt').data.publicUrl)
    expect(cached.headers.get('cache-control')).toBe('private')
  })

  it('refuses to upload onto an object, and leaves that as it is', async () => {
    const of = await files()
    ok(await of.upload('a.txt', 'first', { metadata: { n: 1 } }))
    const before = await clients.stored()

    for (const [, make] of BODIES) {
      const answer = await of.upload('a.txt', make(), { metadata: { n: 2 } })
      expect(refused(answer)).toEqual(clients.refusal(409, 'The resource already exists'))
    }

    expect(await textOf(of, 'a.txt')).toBe('first')
    expect(ok(await of.info('a.txt')).metadata).toEqual({ n: 1 })
    expect(await clients.stored()).toEqual(before)
  })

  it('replaces an object with upsert: bytes, type and metadata, under the same id', async () => {
    const of = await files()
    const first = ok(await of.upload('a.txt', 'first', { metadata: { n: 1 } }))
    const { createdAt, version } = ok(await of.info('a.txt'))
    const before = await clients.stored()

    const second = ok(await of.upload('a.txt', '{}', { upsert: true, contentType: 'application/json' }))

    expect(second.id).toBe(first.id)
    expect(await textOf(of, 'a.txt')).toBe('{}')
    const info = ok(await of.info('a.txt'))
    expect(info).toMatchObject({ contentType: 'application/json', metadata: {}, createdAt })
    expect(info.version).not.toBe(version)
    expect(await clients.stored()).toEqual(before)
  })

  it('makes the object with upsert or update when there is none', async () => {
    const of = await files()
    ok(await of.upload('upserted', 'new', { upsert: true }))
    ok(await of.update('updated', 'new', { metadata: { n: 1 } }))

    expect(await textOf(of, 'upserted')).toBe('new')
    expect(ok(await of.info('updated')).metadata).toEqual({ n: 1 })
  })

  it('finds under its clean path what was uploaded with stray slashes', async () => {
    const of = await files()

    expect(ok(await of.upload('/a//b.txt/', 'x')).path).toBe('a/b.txt')

    expect(await textOf(of, 'a/b.txt')).toBe('x')
  })

  it('throws what it would have answered, when asked to', async () => {
    const of = (await files()).throwOnError()

    await expect(of.download('absent')).rejects.toMatchObject(clients.refusal(404, 'Object not found'))
  })
})
