import { Readable } from 'node:stream'
import type { StorageClient } from '@supabase/storage-js'
import { expect, it } from 'vitest'
import { describeClient, describeClientInBothModes, ok, refused, textOf } from './describe-client.ts'

type Body = Parameters<ReturnType<StorageClient['from']>['upload']>[1]

/** `size` bytes in every way that a client can send them. */
const BODIES: [kind: string, make: (size: number) => Body][] = [
  ['string', (size) => 'x'.repeat(size)],
  ['Blob', (size) => new Blob(['x'.repeat(size)], { type: 'text/plain' })],
  ['web stream', (size) => new Blob(['x'.repeat(size)]).stream()],
  ['Node stream', (size) => Readable.from(Buffer.alloc(size, 'x'))],
]

describeClientInBothModes((clients) => {
  const tooLarge = clients.refusal(413, 'The object exceeded the maximum allowed size')

  it.each(BODIES)(
    "takes a %s up to the bucket's limit to the byte, and nothing of a longer one",
    async (_kind, make) => {
      const of = clients.service.from(await clients.bucket({ file_size_limit: 1000 }))
      ok(await of.upload('fits', make(1000)))
      const before = await clients.stored()

      expect(refused(await of.upload('over', make(1001)))).toEqual(tooLarge)
      expect(refused(await of.upload('over', make(300_000)))).toEqual(tooLarge)
      expect(refused(await of.update('fits', make(1001)))).toEqual(tooLarge)

      expect(await textOf(of, 'fits')).toBe('x'.repeat(1000))
      expect((await of.exists('over')).data).toBe(false)
      expect(await clients.stored()).toEqual(before)
    },
  )

  it('holds to a limit that was changed a moment ago', async () => {
    const bucket = await clients.bucket()
    ok(await clients.service.updateBucket(bucket, { public: false, fileSizeLimit: '1KB' }))

    expect(refused(await clients.service.from(bucket).upload('a', 'x'.repeat(1001)))).toEqual(tooLarge)
    ok(await clients.service.updateBucket(bucket, { public: false, fileSizeLimit: null }))
    ok(await clients.service.from(bucket).upload('a', 'x'.repeat(1001)))
  })

  it('takes the MIME types that the bucket allows, by a wildcard too, and no other', async () => {
    const allowed_mime_types = ['image/*', 'text/plain']
    const of = clients.service.from(await clients.bucket({ allowed_mime_types }))
    ok(await of.upload('1', 'x')) // with a charset, which does not count
    ok(await of.upload('2', 'x', { contentType: 'image/svg+xml' }))
    ok(await of.upload('3', new Blob(['x'], { type: 'image/png' })))
    const before = await clients.stored()
    const wrong = (type: string) => clients.refusal(415, `mime type ${type} is not supported`)

    const json = await of.upload('no', '{}', { contentType: 'application/json' })
    expect(refused(json)).toEqual(wrong('application/json'))
    const pdf = await of.upload('no', new Blob(['x'], { type: 'application/pdf' }))
    expect(refused(pdf)).toEqual(wrong('application/pdf'))
    const stream = await of.upload('no', Readable.from(['x']), { contentType: 'text/css' })
    expect(refused(stream)).toEqual(wrong('text/css'))
    const form = new FormData()
    form.append('file', new Blob(['x'], { type: 'image/png' }))
    form.append('contentType', 'video/mp4') // known only when the file has passed
    expect(refused(await of.upload('no', form))).toEqual(wrong('video/mp4'))

    expect(await clients.stored()).toEqual(before)
  })

  it('refuses a content type that is none', async () => {
    const of = clients.service.from(await clients.bucket())
    const before = await clients.stored()

    expect(refused(await of.upload('a', 'x', { contentType: 'no type' })).statusCode).toBe('415')
    expect(await clients.stored()).toEqual(before)
  })

  it('refuses a form without a file', async () => {
    const of = clients.service.from(await clients.bucket())
    const before = await clients.stored()
    const form = new FormData()
    form.append('note', 'no file')

    expect(refused(await of.upload('a', form))).toMatchObject({ status: 400, statusCode: '400' })
    expect(await clients.stored()).toEqual(before)
  })
})

describeClient('with STORAGE_MAX_FILE_SIZE=2KB', { STORAGE_MAX_FILE_SIZE: '2KB' }, (clients) => {
  const tooLarge = clients.refusal(413, 'The object exceeded the maximum allowed size')

  it.each(BODIES)('takes a %s up to that limit in any bucket', async (_kind, make) => {
    const of = clients.service.from(await clients.bucket())
    ok(await of.upload('fits', make(2000)))
    const before = await clients.stored()

    expect(refused(await of.upload('over', make(2001)))).toEqual(tooLarge)
    expect(await clients.stored()).toEqual(before)
  })
})
