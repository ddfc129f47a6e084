import { get, type IncomingHttpHeaders } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { gunzipSync, gzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { describeClientInBothModes, ok, textOf } from './describe-client.ts'

const TEXT = 'compressed once, by the client '.repeat(50)
const GZIPPED = gzipSync(TEXT)

/** A request by a client that decodes nothing. */
function plainGet(url: string, headers: Record<string, string> = {}) {
  return new Promise<{ status: number | undefined; headers: IncomingHttpHeaders; body: Buffer }>(
    (resolve, reject) => {
      get(url, { headers, agent: false }, async (response) => {
        resolve({ status: response.statusCode, headers: response.headers, body: await buffer(response) })
      }).on('error', reject)
    },
  )
}

// Wire §13.1. storage-js 2.109 has no option for it, but sends headers and form fields on.
describeClientInBothModes((clients) => {
  async function files() {
    return clients.service.from(await clients.bucket({ public: true }))
  }

  function gzippedForm(): FormData {
    const form = new FormData()
    form.append('file', new Blob([GZIPPED], { type: 'text/plain' }), 'a.txt')
    form.append('contentEncoding', 'gzip')
    return form
  }

  const headers = { 'content-encoding': 'gzip' }

  it.each([
    ['raw body', (of: Awaited<ReturnType<typeof files>>) => of.upload('a.txt', GZIPPED, { headers })],
    ['form', (of: Awaited<ReturnType<typeof files>>) => of.upload('a.txt', gzippedForm())],
    ['update', (of: Awaited<ReturnType<typeof files>>) => of.update('a.txt', GZIPPED, { headers })],
    [
      'signed upload',
      async (of: Awaited<ReturnType<typeof files>>) => {
        const { token } = ok(await of.createSignedUploadUrl('a.txt'))
        return of.uploadToSignedUrl('a.txt', token, GZIPPED, { headers })
      },
    ],
  ])('stores encoded bytes as they are, and has the reader decode them: %s', async (_how, upload) => {
    const of = await files()
    const answer: { data: unknown; error: Error | null } = await upload(of)
    ok(answer)

    expect(await textOf(of, 'a.txt')).toBe(TEXT)
    expect(ok(await of.info('a.txt'))).toMatchObject({ size: GZIPPED.length, contentEncoding: 'gzip' })
    const raw = await plainGet(of.getPublicUrl('a.txt').data.publicUrl)
    expect(raw.headers).toMatchObject({
      'content-encoding': 'gzip',
      'content-length': String(GZIPPED.length),
    })
    expect(raw.body.equals(GZIPPED)).toBe(true)
    expect((await of.exists('a.txt')).data).toBe(true)
  })

  it('speaks of the stored bytes in ranges and tags', async () => {
    const of = await files()
    ok(await of.upload('a.txt', GZIPPED, { headers }))
    const url = of.getPublicUrl('a.txt').data.publicUrl

    const whole = await plainGet(url)
    const part = await plainGet(url, { range: 'bytes=10-19' })

    expect(part).toMatchObject({
      status: 206,
      headers: {
        'content-encoding': 'gzip',
        'content-range': `bytes 10-19/${GZIPPED.length}`,
        etag: whole.headers.etag,
      },
    })
    expect(part.body.equals(GZIPPED.subarray(10, 20))).toBe(true)
    expect((await plainGet(url, { 'if-none-match': whole.headers.etag ?? '' })).status).toBe(304)
  })

  it('forgets the encoding when an object is replaced without one', async () => {
    const of = await files()
    ok(await of.upload('a.txt', GZIPPED, { headers }))
    ok(await of.update('a.txt', 'plain'))

    expect(await textOf(of, 'a.txt')).toBe('plain')
    expect(ok(await of.info('a.txt'))).toMatchObject({ contentEncoding: null })
  })

  it('keeps the encoding in a move and a copy', async () => {
    const of = await files()
    ok(await of.upload('a.txt', GZIPPED, { headers }))
    ok(await of.copy('a.txt', 'copy.txt'))
    ok(await of.move('a.txt', 'moved.txt'))

    for (const name of ['copy.txt', 'moved.txt']) expect(await textOf(of, name)).toBe(TEXT)
  })

  it.each([
    ['keeps', {}, 'gzip'],
    ['replaces', { contentEncoding: 'x-own' }, 'x-own'],
    ['clears', { contentEncoding: '' }, null],
  ])('%s the encoding in a copy with metadata of its own', async (_what, metadata, expected) => {
    const bucketId = await clients.bucket()
    const of = clients.service.from(bucketId)
    ok(await of.upload('a.txt', GZIPPED, { headers }))

    const response = await clients.server.request('POST', '/storage/v1/object/copy', {
      body: { bucketId, sourceKey: 'a.txt', destinationKey: 'b.txt', copyMetadata: false, metadata },
    })

    expect(response.ok).toBe(true)
    expect(ok(await of.info('b.txt'))).toMatchObject({ contentEncoding: expected, size: GZIPPED.length })
    const stored = await clients.server.request('GET', `/storage/v1/object/${bucketId}/b.txt`)
    const bytes = Buffer.from(await stored.arrayBuffer())
    expect((expected === 'gzip' ? bytes : gunzipSync(bytes)).toString()).toBe(TEXT) // fetch has decoded gzip
  })
})
