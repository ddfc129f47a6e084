import { createHash } from 'node:crypto'
import { GetObjectCommand, GetObjectTaggingCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fileOf } from '../../../support/file-samples.ts'
import { told } from '../../../support/s3-errors.ts'
import { type Condition, signedForm } from '../../../support/s3-form.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import type { S3Keys } from '../../../support/s3-signer.ts'
import { expectNoDrift } from '../../../support/traces.ts'

/** Forms as browsers send them, on a server with this environment. */
export function describeForms(name: string, env: () => Promise<Record<string, string>>): void {
  describe(name, () => {
    let server: S3TestServer
    const Bucket = 'forms'
    beforeAll(async () => {
      server = await startS3Server(await env())
      await server.createBucket(Bucket)
    })
    afterAll(async () => {
      await expectNoDrift(server)
      await server.close()
    })

    interface Sent {
      conditions?: Condition[]
      file?: string | Blob
      fileName?: string
      keys?: S3Keys
      bucket?: string
      after?: Record<string, string>
    }

    function send(fields: Record<string, string>, sent: Sent = {}): Promise<Response> {
      const { file = 'hello', fileName = 'a file.txt', keys = server.keys3, after = {} } = sent
      const bucket = sent.bucket ?? Bucket
      const form = signedForm(fields, { ...sent, bucket, keys })
      form.append('file', typeof file === 'string' ? new Blob([file]) : file, fileName)
      for (const [field, text] of Object.entries(after)) form.append(field, text)
      return fetch(`${server.endpoint}/${bucket}`, { method: 'POST', body: form, redirect: 'manual' })
    }

    const get = (Key: string) => server.s3.send(new GetObjectCommand({ Bucket, Key }))
    const etag = (text: string) => `"${createHash('md5').update(text).digest('hex')}"`

    it('are stored with all that they say', async () => {
      const response = await send({
        key: 'all/ü.txt',
        'Content-Type': 'text/plain; charset=utf-8',
        'Cache-Control': 'max-age=5',
        'Content-Disposition': 'attachment',
        'x-amz-meta-colour': 'blue',
        tagging: '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>',
        acl: 'private',
      })
      expect([response.status, response.headers.get('etag'), await response.text()]).toEqual([
        204,
        etag('hello'),
        '',
      ])
      expect(response.headers.get('location')).toBe(`${server.endpoint}/${Bucket}/all/%C3%BC.txt`)
      const { Body, ...object } = await get('all/ü.txt')
      expect(await Body?.transformToString()).toBe('hello')
      expect(object).toMatchObject({
        ContentType: 'text/plain; charset=utf-8',
        CacheControl: 'max-age=5',
        ContentDisposition: 'attachment',
        Metadata: { colour: 'blue' },
        ETag: etag('hello'),
        TagCount: 1,
      })
      const tags = await server.s3.send(new GetObjectTaggingCommand({ Bucket, Key: 'all/ü.txt' }))
      expect(tags.TagSet).toEqual([{ Key: 'a', Value: 'b' }])
    })

    it.each(['x'.repeat(300_000), 'y'.repeat(1_300_000), ''])(
      'stream their file, which may be long or empty',
      async (file) => {
        expect((await send({ key: `size-${file.length}` }, { file })).status).toBe(204)
        const { Body, ETag } = await get(`size-${file.length}`)
        expect([await Body?.transformToString(), ETag]).toEqual([file, etag(file)])
      },
    )

    it('take the name of the file into the key', async () => {
      const conditions = [['starts-with', '$key', 'user/']]
      expect(
        (await send({ key: `user/\${filename}` }, { conditions, fileName: 'photo $& 1.png' })).status,
      ).toBe(204)
      expect((await get('user/photo $& 1.png')).ContentLength).toBe(5)
    })

    it('are answered as they want it', async () => {
      const made = await send({ key: 'status', success_action_status: '201' })
      expect([made.status, await made.text()]).toEqual([
        201,
        expect.stringMatching(
          /<PostResponse><Location>http[^<]*\/forms\/status<\/Location><Bucket>forms<\/Bucket><Key>status</,
        ),
      ])
      for (const [wanted, status] of [
        ['200', 200],
        ['204', 204],
        ['404', 204],
      ] as const) {
        expect((await send({ key: 'status', success_action_status: wanted })).status).toBe(status)
      }
      const elsewhere = await send({ key: 'a&b', success_action_redirect: 'https://app.example/done?x=1' })
      expect([elsewhere.status, elsewhere.headers.get('location')]).toEqual([
        303,
        `https://app.example/done?x=1&bucket=forms&key=a%26b&etag=${encodeURIComponent(etag('hello'))}`,
      ])
      expect((await send({ key: 'b', success_action_redirect: 'javascript:alert(1)' })).status).toBe(204)
    })

    it.each(['hello', 'h'.repeat(300_000)])(
      'have the length that the policy allows, and are not stored else',
      async (file) => {
        const range = (min: number, max: number) => [['content-length-range', min, max]]
        const key = `range-${file.length}`
        const { length } = file
        expect(await told(await send({ key }, { file, conditions: range(0, length - 1) }))).toMatchObject({
          status: 413,
          code: 'EntityTooLarge',
        })
        expect(
          await told(await send({ key }, { file, conditions: range(length + 1, 10 * length) })),
        ).toMatchObject({
          status: 400,
          code: 'EntityTooSmall',
        })
        await expect(get(key)).rejects.toMatchObject({ name: 'NoSuchKey' })
        expect((await send({ key }, { file, conditions: range(length, length) })).status).toBe(204)
      },
    )

    it.each([
      [
        'a field that the policy has not',
        { key: 'x' },
        { conditions: [{ key: 'other' }] },
        403,
        'AccessDenied',
      ],
      ['no key', {}, {}, 400, 'InvalidArgument'],
      ['a key that is none here', { key: 'a/../b' }, {}, 400, 'InvalidArgument'],
      ['a bucket that is not there', { key: 'x' }, { bucket: 'absent' }, 404, 'NoSuchBucket'],
      ['another ACL', { key: 'x', acl: 'public-read-write' }, {}, 400, 'AccessControlListNotSupported'],
      ['encryption', { key: 'x', 'x-amz-server-side-encryption': 'AES256' }, {}, 501, 'NotImplemented'],
      ['tags that are none', { key: 'x', tagging: '<Tagging/>' }, {}, 400, 'MalformedXML'],
      ['another checksum', { key: 'x', 'x-amz-checksum-crc32': 'AAAAAA==' }, {}, 400, 'BadDigest'],
      ['a checksum that nobody knows', { key: 'x', 'x-amz-checksum-md4': 'AA' }, {}, 400, 'InvalidRequest'],
      [
        'a key that says the name of the file again and again',
        { key: `\${filename}`.repeat(5000) },
        { conditions: [['starts-with', '$key', '']], fileName: 'x'.repeat(15_000) },
        400,
        'InvalidArgument',
      ],
      ['much before their file', { key: 'x', 'x-ignore-a': 'x'.repeat(200_000) }, {}, 413, 'EntityTooLarge'],
      ['a folder with bytes', { key: 'folder/' }, {}, 413, 'EntityTooLarge'],
    ] as const)('are refused with %s', async (_, fields, sent, status, code) => {
      expect(await told(await send(fields, sent as Sent))).toMatchObject({ status, code })
      await expect(get('x')).rejects.toMatchObject({ name: 'NoSuchKey' })
    })

    it('have the type that their signer allows, and none that the file or its name brings along', async () => {
      const page = { file: new Blob(['<script>'], { type: 'text/html' }), fileName: 'page.html' }
      const conditions = [['starts-with', '$key', 'typed/']]
      expect((await send({ key: `typed/\${filename}` }, { ...page, conditions })).status).toBe(204)
      expect((await get('typed/page.html')).ContentType).toBe('application/octet-stream')
      expect((await send({ key: 'typed/field', 'Content-Type': 'image/png' }, page)).status).toBe(204)
      expect((await get('typed/field')).ContentType).toBe('image/png')
      // What the bytes are nobody can say otherwise.
      const picture = { file: new Blob([fileOf('png')], { type: 'text/html' }), fileName: 'page.html' }
      expect((await send({ key: `typed/\${filename}` }, { ...picture, conditions })).status).toBe(204)
      expect((await get('typed/page.html')).ContentType).toBe('image/png')
      await server.admin`update storage.buckets set allowed_mime_types = '{text/html}' where id = ${Bucket}`
      expect(await told(await send({ key: 'typed/refused' }, page))).toMatchObject({ status: 415 })
      await server.admin`update storage.buckets set allowed_mime_types = null where id = ${Bucket}`
    })

    it('mean nothing behind their file', async () => {
      expect(
        (await send({ key: 'front' }, { after: { key: 'behind', success_action_status: '201' } })).status,
      ).toBe(204)
      expect((await get('front')).ContentLength).toBe(5)
    })

    it('are refused without a signature, and by who may not upload', async () => {
      const form = new FormData()
      form.append('key', 'unsigned')
      form.append('file', new Blob(['hello']), 'x')
      const unsigned = await fetch(`${server.endpoint}/${Bucket}`, { method: 'POST', body: form })
      expect(await told(unsigned)).toMatchObject({ status: 403, code: 'AccessDenied' })
      const keys = await server.session('somebody')
      expect(await told(await send({ key: 'theirs' }, { keys }))).toMatchObject({
        status: 403,
        code: 'AccessDenied',
      })
    })
  })
}
