import { Readable } from 'node:stream'
import type { StorageClient } from '@supabase/storage-js'
import { expect, it } from 'vitest'
import { signUrlToken } from '../../src/storage/links/url-token.ts'
import { describeClientInBothModes, ok, refused, textOf } from './describe-client.ts'

type Body = Parameters<ReturnType<StorageClient['from']>['upload']>[1]

describeClientInBothModes((clients) => {
  async function files(settings?: Record<string, unknown>) {
    return clients.service.from(await clients.bucket(settings))
  }

  async function answer(url: string | null | undefined) {
    const response = await fetch(url ?? '')
    return { status: response.status, headers: response.headers, text: await response.text() }
  }

  it('opens a private object to whoever has the link, until it expires', async () => {
    const of = await files()
    ok(await of.upload('deep/a.txt', 'secret', { contentType: 'text/plain' }))
    const { signedUrl } = ok(await of.createSignedUrl('deep/a.txt', 60))

    const { status, headers, text } = await answer(signedUrl)

    expect([status, text, headers.get('content-type')]).toEqual([200, 'secret', 'text/plain'])
    expect(headers.get('content-disposition')).toBeNull()
    const lifetimeMs = Date.parse(headers.get('expires') ?? '') - Date.now()
    expect(lifetimeMs).toBeGreaterThan(0)
    expect(lifetimeMs).toBeLessThanOrEqual(60_000)
    expect((await fetch(signedUrl, { method: 'HEAD' })).status).toBe(200)
    const part = await fetch(signedUrl, { headers: { range: 'bytes=1-3' } })
    expect([part.status, await part.text()]).toEqual([206, 'ecr'])
  })

  it.each<[download: true | string, disposition: string]>([
    [true, 'attachment;'],
    ...['report.pdf', 'Über a+b & 50%.pdf', '%41#.pdf', '报告.pdf'].map((name): [string, string] => {
      const encoded = encodeURIComponent(name)
      return [name, `attachment; filename=${encoded}; filename*=UTF-8''${encoded}`]
    }),
  ])('has the browser save the file with download: %j', async (download, disposition) => {
    const of = await files()
    ok(await of.upload('a.pdf', 'x'))
    const one = ok(await of.createSignedUrl('a.pdf', 60, { download, cacheNonce: '1' }))
    const [many] = ok(await of.createSignedUrls(['a.pdf'], 60, { download }))

    for (const url of [one.signedUrl, many?.signedUrl]) {
      const { status, headers } = await answer(url)
      expect([status, headers.get('content-disposition')]).toEqual([200, disposition])
    }
  })

  it('signs many at once, in the order asked, and says which it could not', async () => {
    const of = await files()
    for (const name of ['a.txt', 'deep/b.txt']) ok(await of.upload(name, `this is ${name}`))

    const signed = ok(await of.createSignedUrls(['deep/b.txt', 'absent', 'a.txt'], 60))

    expect(signed.map(({ path }) => path)).toEqual(['deep/b.txt', 'absent', 'a.txt'])
    expect(signed[1]).toMatchObject({ error: expect.stringMatching(/./), signedUrl: null })
    for (const { path, error, signedUrl } of signed.filter((one) => one.path !== 'absent')) {
      expect(error).toBeNull()
      expect((await answer(signedUrl)).text).toBe(`this is ${path}`)
    }
    const elsewhere = ok(await clients.service.from('absent').createSignedUrls(['a.txt'], 60))
    expect(elsewhere).toMatchObject([{ path: 'a.txt', signedUrl: null }])
  })

  it('refuses an altered link, an expired one, and one turned to another object', async () => {
    const of = await files()
    const bucket = (of as unknown as { bucketId: string }).bucketId
    for (const name of ['a.txt', 'b.txt']) ok(await of.upload(name, `this is ${name}`))
    const { signedUrl } = ok(await of.createSignedUrl('a.txt', 60))
    const upload = ok(await of.createSignedUploadUrl('new.txt'))
    const { token: expired } = signUrlToken(
      { scope: 'download', bucket, bucketUid: undefined, name: 'a.txt', expiresInSeconds: 1 },
      clients.server.keys.signingSecret,
      new Date(Date.now() - 60_000),
    )
    const cases: [url: string, ours: number, code: string][] = [
      [signedUrl.replace('/a.txt?', '/b.txt?'), 403, 'InvalidSignature'],
      [`${signedUrl.slice(0, -3)}abc`, 403, 'InvalidJWT'],
      [signedUrl.replace(/token=.*/, 'token=none'), 403, 'InvalidJWT'],
      [signedUrl.replace(/token=.*/, `token=${upload.token}`), 403, 'InvalidSignature'],
      [
        signedUrl.replace(/token=.*/, `token=${expired}`),
        410,
        clients.isSupabase ? 'InvalidJWT' : 'ExpiredToken',
      ],
      [signedUrl.replace(/\?token=.*/, ''), 400, 'InvalidRequest'],
    ]

    for (const [url, ours, code] of cases) {
      const { status, text } = await answer(url)
      expect({ url, status, ...JSON.parse(text) }).toMatchObject({
        status: clients.isSupabase ? 400 : ours,
        statusCode: String(clients.isSupabase ? 400 : ours),
        code,
      })
    }
  })

  it('serves what is there when the link is used, and nothing once it is deleted', async () => {
    const of = await files()
    ok(await of.upload('a.txt', 'old'))
    const { signedUrl } = ok(await of.createSignedUrl('a.txt', 60))

    ok(await of.update('a.txt', 'new'))
    expect((await answer(signedUrl)).text).toBe('new')
    ok(await of.remove(['a.txt']))
    expect((await answer(signedUrl)).status).toBe(clients.isSupabase ? 400 : 404)
  })

  it.each([0, -1, 1.5, 1e300])('refuses to sign for %d seconds', async (expiresIn) => {
    const of = await files()
    ok(await of.upload('a.txt', 'x'))

    expect(refused(await of.createSignedUrl('a.txt', expiresIn))).toMatchObject({ statusCode: '400' })
    expect(refused(await of.createSignedUrls(['a.txt'], expiresIn))).toMatchObject({ statusCode: '400' })
  })

  it.each([
    ['string', () => 'pixels', 'image/x-own'],
    ['Buffer', () => Buffer.from('pixels'), 'image/x-own'],
    ['stream', () => Readable.from(['pix', 'els']), 'image/x-own'],
    ['Blob', () => new Blob(['pixels'], { type: 'image/png' }), 'image/png'],
    ['FormData', () => photoForm(), 'image/png'],
  ])('lets an anonymous client upload a %s to a signed URL', async (_kind, make: () => Body, type) => {
    const bucket = await clients.bucket()
    const of = clients.service.from(bucket)
    const signed = ok(await of.createSignedUploadUrl('deep/a.png'))
    expect(signed.path).toBe('deep/a.png')
    expect(new URL(signed.signedUrl).searchParams.get('token')).toBe(signed.token)

    const stored = ok(
      await clients.anonymous.from(bucket).uploadToSignedUrl('deep/a.png', signed.token, make(), {
        contentType: 'image/x-own',
        cacheControl: '9',
        metadata: { album: 'spring' },
      }),
    )

    expect(stored).toEqual({ path: 'deep/a.png', fullPath: `${bucket}/deep/a.png` })
    expect(await textOf(of, 'deep/a.png')).toBe('pixels')
    expect(ok(await of.info('deep/a.png'))).toMatchObject({
      contentType: type,
      cacheControl: 'max-age=9',
      metadata: { album: 'spring' },
    })
  })

  it('uploads to the signed URL by plain fetch too', async () => {
    const of = await files()
    const { signedUrl } = ok(await of.createSignedUploadUrl('a.txt'))

    const response = await fetch(signedUrl, { method: 'PUT', body: 'plain' })

    expect(response.status).toBe(clients.isSupabase ? 200 : 201)
    expect(await textOf(of, 'a.txt')).toBe('plain')
  })

  it('stores a signed upload in the name of who signed', async () => {
    const bucket = await clients.bucket({ policy: 'authenticated' })
    const { token } = ok(await clients.user('signer').from(bucket).createSignedUploadUrl('a.txt'))

    ok(await clients.anonymous.from(bucket).uploadToSignedUrl('a.txt', token, 'x'))

    const rows = await clients.server.admin`select owner_id from storage.objects where bucket_id = ${bucket}`
    expect(rows).toEqual([{ owner_id: 'signer' }])
  })

  it('replaces through a signed upload only if that was signed for', async () => {
    const of = await files()
    const plain = ok(await of.createSignedUploadUrl('a.txt'))
    ok(await of.uploadToSignedUrl('a.txt', plain.token, 'first'))
    const duplicate = clients.refusal(409, 'The resource already exists')

    const again = await of.uploadToSignedUrl('a.txt', plain.token, 'second', { upsert: true })
    expect(refused(again)).toEqual(duplicate)
    expect(refused(await of.createSignedUploadUrl('a.txt'))).toEqual(duplicate)
    expect(await textOf(of, 'a.txt')).toBe('first')

    const upsert = ok(await of.createSignedUploadUrl('a.txt', { upsert: true }))
    ok(await of.uploadToSignedUrl('a.txt', upsert.token, 'second'))
    expect(await textOf(of, 'a.txt')).toBe('second')
  })

  it('takes an upload token for nothing but its own object', async () => {
    const of = await files()
    const other = await files()
    ok(await of.upload('a.txt', 'x'))
    const { token } = ok(await of.createSignedUploadUrl('new.txt'))
    const downloadToken = new URL(ok(await of.createSignedUrl('a.txt', 60)).signedUrl).searchParams.get(
      'token',
    )
    const before = await clients.stored()
    const signature = {
      status: clients.isSupabase ? 400 : 403,
      statusCode: clients.isSupabase ? '400' : '403',
    }

    expect(refused(await of.uploadToSignedUrl('other.txt', token, 'x'))).toMatchObject(signature)
    expect(refused(await other.uploadToSignedUrl('new.txt', token, 'x'))).toMatchObject(signature)
    expect(refused(await of.uploadToSignedUrl('a.txt', downloadToken ?? '', 'x'))).toMatchObject(signature)
    expect(refused(await of.uploadToSignedUrl('new.txt', 'garbage', new Blob(['x'])))).toMatchObject(
      signature,
    )
    expect(await clients.stored()).toEqual(before)
  })

  it("holds a signed upload to the bucket's rules", async () => {
    const of = await files({ file_size_limit: 3, allowed_mime_types: ['text/plain'] })
    const { token } = ok(await of.createSignedUploadUrl('a.txt'))

    expect(refused(await of.uploadToSignedUrl('a.txt', token, 'four')).statusCode).toBe('413')
    const png = new Blob(['x'], { type: 'image/png' })
    expect(refused(await of.uploadToSignedUrl('a.txt', token, png)).statusCode).toBe('415')
    expect(ok(await of.list())).toEqual([])
  })

  it('signs nothing for callers whom the policies deny it', async () => {
    const bucket = await clients.bucket()
    ok(await clients.service.from(bucket).upload('a.txt', 'x'))

    for (const client of [clients.anonymous, clients.user('a-stranger')]) {
      const of = client.from(bucket)
      expect(refused(await of.createSignedUrl('a.txt', 60))).toEqual(clients.refusal(404, 'Object not found'))
      expect(ok(await of.createSignedUrls(['a.txt'], 60))).toMatchObject([{ signedUrl: null }])
      expect(refused(await of.createSignedUploadUrl('b.txt'))).toEqual(
        clients.refusal(403, 'new row violates row-level security policy'),
      )
    }
  })
})

/** Its fields come behind the file; storage-js adds the rest. */
function photoForm(): FormData {
  const form = new FormData()
  form.append('photo', new Blob(['pixels'], { type: 'image/png' }), 'photo.png')
  return form
}
