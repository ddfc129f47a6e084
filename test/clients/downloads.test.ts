import { text } from 'node:stream/consumers'
import type { ReadableStream } from 'node:stream/web'
import { StorageUnknownError } from '@supabase/storage-js'
import { expect, it } from 'vitest'
import { describeClientInBothModes, ok, refused } from './describe-client.ts'

describeClientInBothModes((clients) => {
  async function files(settings?: Record<string, unknown>) {
    return clients.service.from(await clients.bucket(settings))
  }

  it('downloads a Blob with the type of the object', async () => {
    const of = await files()
    ok(await of.upload('a.json', '{"a":1}', { contentType: 'application/json' }))

    const blob = ok(await of.download('a.json'))

    expect(blob.type).toBe('application/json')
    expect(await blob.text()).toBe('{"a":1}')
  })

  it('downloads a stream', async () => {
    const of = await files()
    const long = 'line after line\n'.repeat(100_000)
    ok(await of.upload('long.txt', long))

    const stream = ok(await of.download('long.txt').asStream())

    expect(await text(stream as ReadableStream)).toBe(long)
  })

  it('shows HTML as text, so that an upload never becomes a page', async () => {
    const of = await files()
    ok(await of.upload('page.html', new Blob(['<script>'], { type: 'text/html' })))

    const blob = ok(await of.download('page.html'))

    expect(blob.type).toBe('text/plain')
    expect(await blob.text()).toBe('<script>')
  })

  it('takes no notice of a cache nonce, and of a slash in front of the path', async () => {
    const of = await files({ public: true })
    ok(await of.upload('a.txt', 'x'))

    expect(await ok(await of.download('/a.txt', { cacheNonce: 'v2' })).text()).toBe('x')
    const url = of.getPublicUrl('a.txt', { cacheNonce: 'v2' }).data.publicUrl
    expect(await (await fetch(url)).text()).toBe('x')
  })

  it('gives up when its signal says so', async () => {
    const of = await files()
    ok(await of.upload('a.txt', 'x'))

    const { data, error } = await of.download('a.txt', {}, { signal: AbortSignal.abort() })

    expect(data).toBeNull()
    expect(error).toBeInstanceOf(StorageUnknownError)
  })

  it('tells about an object all that is known, in camel case', async () => {
    const bucket = await clients.bucket()
    const of = clients.service.from(bucket)
    const { id } = ok(
      await of.upload('deep/a.txt', 'four', {
        contentType: 'text/plain',
        cacheControl: '7',
        metadata: { by_whom: 'me' },
      }),
    )

    const info = ok(await of.info('deep/a.txt'))

    expect(info).toMatchObject({
      id,
      name: 'deep/a.txt',
      bucketId: bucket,
      size: 4,
      contentType: 'text/plain',
      cacheControl: 'max-age=7',
      metadata: { byWhom: 'me' }, // storage-js changes these too
    })
    expect(info.version).toEqual(expect.any(String))
    expect(info.etag).toMatch(/^".+"$/)
    for (const time of [info.createdAt, info.lastModified])
      expect(Math.abs(Date.parse(time ?? '') - Date.now())).toBeLessThan(60_000)
  })

  it('knows what exists', async () => {
    const of = await files()
    ok(await of.upload('a/b.txt', 'x'))

    expect(await of.exists('a/b.txt')).toEqual({ data: true, error: null })
    for (const absent of ['a', 'a/b', 'a/b.txt.bak', 'b.txt', 'A/b.txt']) {
      const { data, error } = await of.exists(absent)
      expect(data, absent).toBe(false)
      expect(error).toMatchObject({ status: clients.isSupabase ? 400 : 404 })
    }
    expect((await of.exists('a/')).data).toBe(false) // by default no legal name at all
    expect((await clients.service.from('absent').exists('a/b.txt')).data).toBe(false)
  })

  it('says of an object that is not there that it is not found', async () => {
    const of = await files()
    const notFound = clients.refusal(404, 'Object not found')

    expect(refused(await of.download('absent'))).toEqual(notFound)
    expect(refused(await of.download('absent').asStream())).toEqual(notFound)
    expect(refused(await of.info('absent'))).toEqual(notFound)
    expect(refused(await of.createSignedUrl('absent', 60))).toEqual(notFound)
    expect(refused(await of.copy('absent', 'b'))).toEqual(notFound)
    expect(refused(await of.move('absent', 'b'))).toEqual(notFound)
  })

  it('says of a bucket that is not there that it is not found', async () => {
    const of = clients.service.from('absent')
    const notFound = clients.refusal(404, 'Bucket not found')
    const before = await clients.stored()

    expect(refused(await of.upload('a', 'x'))).toEqual(notFound)
    expect(refused(await of.upload('a', new Blob(['x'])))).toEqual(notFound)
    expect(refused(await of.update('a', 'x'))).toEqual(notFound)
    expect(refused(await of.createSignedUploadUrl('a'))).toEqual(notFound)
    expect(await clients.stored()).toEqual(before)
  })

  it('serves a public URL to anybody, to be shown or to be saved', async () => {
    const of = await files({ public: true })
    ok(
      await of.upload('report 1.pdf', new Blob(['%PDF'], { type: 'application/pdf' }), {
        cacheControl: '60',
      }),
    )
    const answer = async (options?: Parameters<typeof of.getPublicUrl>[1]) => {
      const response = await fetch(of.getPublicUrl('report 1.pdf', options).data.publicUrl)
      expect([response.status, await response.text()]).toEqual([200, '%PDF'])
      return response.headers
    }

    const shown = await answer()
    expect(shown.get('content-type')).toBe('application/pdf')
    expect(shown.get('cache-control')).toBe('max-age=60')
    expect(shown.get('content-disposition')).toBeNull()
    expect((await answer({ download: true })).get('content-disposition')).toBe('attachment;')
    const encoded = 'Bericht%20%C3%BC%20%26%20mehr.pdf'
    expect((await answer({ download: 'Bericht ü & mehr.pdf' })).get('content-disposition')).toBe(
      `attachment; filename=${encoded}; filename*=UTF-8''${encoded}`,
    )
  })

  it('serves no public URL of a private bucket', async () => {
    const of = await files()
    ok(await of.upload('a.txt', 'secret'))

    const response = await fetch(of.getPublicUrl('a.txt').data.publicUrl)

    expect(response.status).toBe(clients.isSupabase ? 400 : 404)
    expect(await response.json()).toMatchObject({ statusCode: '404', message: 'Bucket not found' })
  })
})
