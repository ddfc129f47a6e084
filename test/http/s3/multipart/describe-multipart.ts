import { createHash, randomBytes, randomUUID } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  type CreateMultipartUploadCommandInput,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { cleanUp } from '../../../support/cleanup.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import { expectNoDrift } from '../../../support/traces.ts'

const MIB = 1024 * 1024
const PART = 5 * MIB

const digest = (algorithm: string, bytes: Uint8Array) => createHash(algorithm).update(bytes)

/** As S3 makes it of parts. */
function etagOf(...parts: Uint8Array[]): string {
  const md5s = parts.map((bytes) => digest('md5', bytes).digest())
  return `"${digest('md5', Buffer.concat(md5s)).digest('hex')}-${parts.length}"`
}

/** Uploads in parts, as aws-sdk makes them, against a server with these settings. */
export function describeMultipart(name: string, env: () => Promise<Record<string, string>>): void {
  let server: S3TestServer
  let s3: S3Client
  let Bucket: string
  beforeAll(async () => {
    server = await startS3Server(await env())
    s3 = server.s3
  })
  afterAll(() => server.close())
  beforeEach(async () => {
    Bucket = `b-${randomUUID()}`
    await server.createBucket(Bucket)
  })

  const create = async (Key: string, input: Partial<CreateMultipartUploadCommandInput> = {}) => {
    const { UploadId = '' } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key, ...input }))
    return { Bucket, Key, UploadId }
  }
  type Place = Awaited<ReturnType<typeof create>>
  const send = async (
    place: Place,
    PartNumber: number,
    Body: Uint8Array,
    more = {},
  ): Promise<CompletedPart> => {
    const { ETag, ChecksumCRC32, ChecksumSHA256 } = await s3.send(
      new UploadPartCommand({ ...place, PartNumber, Body, ...more }),
    )
    return {
      PartNumber,
      ETag,
      ...(ChecksumCRC32 && { ChecksumCRC32 }),
      ...(ChecksumSHA256 && { ChecksumSHA256 }),
    }
  }
  const complete = (place: Place, Parts: CompletedPart[], more = {}) =>
    s3.send(new CompleteMultipartUploadCommand({ ...place, MultipartUpload: { Parts }, ...more }))
  const read = async (Key: string) => {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }))
    return Buffer.from((await Body?.transformToByteArray()) ?? [])
  }

  const large = randomBytes(PART)
  const other = randomBytes(PART)
  const small = randomBytes(1000)

  describe(name, () => {
    it('become an object, with the ETag that clients compute and what they said at the beginning', async () => {
      const place = await create('a/ü b', {
        ContentType: 'text/plain; charset=utf-8',
        ContentDisposition: 'attachment',
        Metadata: { colour: 'blue' },
        Tagging: 'kind=test',
      })
      const parts = [await send(place, 3, small), await send(place, 1, large), await send(place, 2, other)]
      expect(parts[1]?.ETag).toBe(`"${digest('md5', large).digest('hex')}"`)
      const sorted = parts.toSorted((one, two) => Number(one.PartNumber) - Number(two.PartNumber))
      const made = await complete(place, sorted)
      expect(made).toMatchObject({ Bucket, Key: 'a/ü b', ETag: etagOf(large, other, small) })
      expect((await read('a/ü b')).equals(Buffer.concat([large, other, small]))).toBe(true)
      const head = await s3.send(new HeadObjectCommand({ Bucket, Key: 'a/ü b', PartNumber: 2 }))
      expect(head).toMatchObject({
        ContentLength: PART,
        ContentType: 'text/plain; charset=utf-8',
        ContentDisposition: 'attachment',
        ETag: etagOf(large, other, small),
        Metadata: { colour: 'blue' },
        PartsCount: 3,
      })
      // A client whose answer was lost asks again.
      expect((await complete(place, sorted)).ETag).toBe(made.ETag)
      await expectNoDrift(server)
    })

    it('are what lib-storage uploads in parallel', async () => {
      const Body = randomBytes(3 * PART + 17)
      const upload = new Upload({
        client: s3,
        params: { Bucket, Key: 'parallel', Body },
        queueSize: 4,
        partSize: PART,
      })
      await upload.done()
      expect((await read('parallel')).equals(Body)).toBe(true)
      const aborted = new Upload({ client: s3, params: { Bucket, Key: 'aborted', Body }, partSize: PART })
      aborted.on('httpUploadProgress', () => void aborted.abort())
      await expect(aborted.done()).rejects.toThrow()
    })

    it.each([
      ['SHA256', undefined, 'COMPOSITE'],
      ['CRC32', undefined, 'COMPOSITE'],
      ['CRC32', 'FULL_OBJECT', 'FULL_OBJECT'],
      ['CRC64NVME', undefined, 'FULL_OBJECT'],
    ] as const)('are checked by %s, of the type %s', async (ChecksumAlgorithm, ChecksumType, type) => {
      const place = await create('checked', { ChecksumAlgorithm, ...(ChecksumType && { ChecksumType }) })
      // CRC64NVME is computed by the server alone: the client has no code for it, and is told to send nothing else.
      const isOurs = ChecksumAlgorithm === 'CRC64NVME'
      if (isOurs) await expect(send(place, 1, small)).rejects.toMatchObject({ name: 'InvalidRequest' })
      const plain = isOurs ? server.client(server.keys3, { requestChecksumCalculation: 'WHEN_REQUIRED' }) : s3
      const parts = []
      for (const [i, Body] of [large, small].entries()) {
        const input = { ...place, PartNumber: i + 1, Body, ...(!isOurs && { ChecksumAlgorithm }) }
        parts.push({ PartNumber: i + 1, ...(await plain.send(new UploadPartCommand(input))) })
      }
      const named = parts.map(({ PartNumber, ETag }) => ({ PartNumber, ETag }))
      const { Parts } = await s3.send(new ListPartsCommand(place))
      expect(Parts?.map((part) => part[`Checksum${ChecksumAlgorithm}`])).toEqual([
        expect.any(String),
        expect.any(String),
      ])
      const made = await complete(place, named)
      const head = await s3.send(new HeadObjectCommand({ Bucket, Key: 'checked', ChecksumMode: 'ENABLED' }))
      expect([made.ChecksumType, head.ChecksumType]).toEqual([type, type])
      const value = made[`Checksum${ChecksumAlgorithm}`]
      expect(head[`Checksum${ChecksumAlgorithm}`]).toBe(value)
      expect(value?.endsWith('-2')).toBe(type === 'COMPOSITE')
      if (ChecksumAlgorithm === 'SHA256') {
        const sums = [large, small].map((bytes) => digest('sha256', bytes).digest())
        expect(value).toBe(`${digest('sha256', Buffer.concat(sums)).digest('base64')}-2`)
      }
    })

    it('are of the ranges of other objects', async () => {
      const source = Buffer.concat([large, other])
      await s3.send(new PutObjectCommand({ Bucket, Key: 'the source', Body: source }))
      const place = await create('copied')
      const CopySource = `${Bucket}/the%20source`
      const copy = async (PartNumber: number, CopySourceRange?: string) => {
        const input = { ...place, PartNumber, CopySource, ...(CopySourceRange && { CopySourceRange }) }
        const { CopyPartResult } = await s3.send(new UploadPartCopyCommand(input))
        return { PartNumber, ETag: CopyPartResult?.ETag }
      }
      const parts = [await copy(1), await copy(2, `bytes=10-${PART + 9}`), await copy(3, 'bytes=0-0')]
      expect(parts[0]?.ETag).toBe(`"${digest('md5', source).digest('hex')}"`)
      await expect(copy(4, `bytes=0-${2 * PART}`)).rejects.toMatchObject({ name: 'InvalidArgument' })
      await complete(place, parts)
      const whole = Buffer.concat([source, source.subarray(10, PART + 10), source.subarray(0, 1)])
      expect((await read('copied')).equals(whole)).toBe(true)
    })

    it('are listed with their parts, page by page', async () => {
      const place = await create('listed')
      for (const number of [1, 2, 9]) await send(place, number, small)
      const first = await s3.send(new ListPartsCommand({ ...place, MaxParts: 2 }))
      expect(first).toMatchObject({ IsTruncated: true, MaxParts: 2, NextPartNumberMarker: '2' })
      expect(first.Parts).toMatchObject([
        { PartNumber: 1, Size: 1000, ETag: `"${digest('md5', small).digest('hex')}"` },
        { PartNumber: 2 },
      ])
      const marker = first.NextPartNumberMarker
      const second = await s3.send(
        new ListPartsCommand({ ...place, ...(marker && { PartNumberMarker: marker }) }),
      )
      expect([second.IsTruncated, second.Parts?.map(({ PartNumber }) => PartNumber)]).toEqual([false, [9]])
      const none = await s3.send(new ListPartsCommand({ ...place, MaxParts: 0 }))
      expect([none.IsTruncated, none.Parts]).toEqual([false, undefined])
      await s3.send(new AbortMultipartUploadCommand(place))
    })

    it('are listed while they are unfinished, by key and age, and folders as one', async () => {
      const keys = ['a', 'dir/1', 'dir/2', 'same', 'same', 'z ä']
      const places = []
      for (const key of keys) places.push(await create(key))
      const list = (input = {}) => s3.send(new ListMultipartUploadsCommand({ Bucket, ...input }))
      const all = await list()
      expect(all.Uploads?.map(({ Key, UploadId }) => [Key, UploadId])).toEqual(
        places.map(({ Key, UploadId }) => [Key, UploadId]),
      )
      const folders = await list({ Delimiter: '/', MaxUploads: 2 })
      expect([folders.Uploads?.map(({ Key }) => Key), folders.CommonPrefixes]).toEqual([
        ['a'],
        [{ Prefix: 'dir/' }],
      ])
      expect(folders).toMatchObject({ IsTruncated: true, NextKeyMarker: 'dir/' })
      const next = await list({ Delimiter: '/', KeyMarker: 'dir/', MaxUploads: 1 })
      expect(next).toMatchObject({
        IsTruncated: true,
        NextKeyMarker: 'same',
        NextUploadIdMarker: places[3]?.UploadId,
      })
      const { NextKeyMarker: KeyMarker, NextUploadIdMarker: UploadIdMarker } = next
      const rest = await list({ KeyMarker, UploadIdMarker, EncodingType: 'url' })
      expect(rest.Uploads?.map(({ Key, UploadId }) => [Key, UploadId])).toEqual([
        ['same', places[4]?.UploadId],
        ['z%20%C3%A4', places[5]?.UploadId],
      ])
      // As lists of objects write keys, too.
      const quoted = await list({ Prefix: "it's (here)*/", Delimiter: '!', EncodingType: 'url' })
      expect([quoted.Prefix, quoted.Delimiter]).toEqual(['it%27s%20%28here%29%2A/', '%21'])
      expect((await list({ Prefix: 'dir/' })).Uploads?.map(({ Key }) => Key)).toEqual(['dir/1', 'dir/2'])
      for (const place of places) await s3.send(new AbortMultipartUploadCommand(place))
      expect((await list()).Uploads ?? []).toEqual([])
      await expectNoDrift(server)
    })

    it.each([
      'prefix=%00',
      `prefix=${'p'.repeat(5000)}`,
      'delimiter=%00',
      'key-marker=%00',
      `key-marker=${'m'.repeat(5000)}`,
      'key-marker=a&upload-id-marker=%00',
      'max-uploads=-1',
      'encoding-type=base64',
    ])('are not listed by what can be no key or number: %.40s', async (query) => {
      const answer = await server.send('GET', `/${Bucket}?uploads&${query}`)
      expect([answer.status, await answer.text()]).toEqual([
        400,
        expect.stringMatching(/<Code>InvalidArgument<\/Code><Message>[\w-]+ (?:is too long|must be)/),
      ])
    })

    it('are refused by their codes', async () => {
      const place = await create('refused')
      const gone = { ...place, UploadId: randomUUID() }
      const [first, second] = [await send(place, 1, small), await send(place, 2, small)]
      for (const [work, name, status] of [
        [() => complete(gone, [first]), 'NoSuchUpload', 404],
        [() => send(gone, 1, small), 'NoSuchUpload', 404],
        [() => s3.send(new ListPartsCommand(gone)), 'NoSuchUpload', 404],
        [() => s3.send(new AbortMultipartUploadCommand(gone)), 'NoSuchUpload', 404],
        [() => complete(place, [first, second]), 'EntityTooSmall', 400],
        [() => complete(place, [second, first]), 'InvalidPartOrder', 400],
        [() => complete(place, [{ PartNumber: 1, ETag: '"0"' }]), 'InvalidPart', 400],
        [() => complete(place, [first], { MpuObjectSize: 1001 }), 'InvalidRequest', 400],
        [() => send(place, 0, small), 'InvalidArgument', 400],
        [() => send(place, 10_001, small), 'InvalidArgument', 400],
        [
          () => create('x', { ChecksumAlgorithm: 'SHA1', ChecksumType: 'FULL_OBJECT' }),
          'InvalidRequest',
          400,
        ],
      ] as const) {
        await expect(work()).rejects.toMatchObject({ name, $metadata: { httpStatusCode: status } })
      }
      const answer = await server.send('POST', `/${Bucket}/refused?uploadId=${place.UploadId}`, {
        body: '<Complete',
      })
      expect([answer.status, await answer.text()]).toEqual([
        400,
        expect.stringContaining('<Code>MalformedXML</Code>'),
      ])
      await s3.send(new AbortMultipartUploadCommand(place))
      await expectNoDrift(server)
    })

    it('obey conditions, limits, types and names like any upload', async () => {
      await s3.send(new PutObjectCommand({ Bucket, Key: 'there', Body: small }))
      const place = await create('there')
      const part = await send(place, 1, other)
      await expect(complete(place, [part], { IfNoneMatch: '*' })).rejects.toMatchObject({
        name: 'PreconditionFailed',
      })
      await expect(complete(place, [part], { IfMatch: '"0"' })).rejects.toMatchObject({
        name: 'PreconditionFailed',
      })
      await complete(place, [part], { IfMatch: `"${digest('md5', small).digest('hex')}"` })
      expect((await read('there')).equals(other)).toBe(true)

      const narrow = `b-${randomUUID()}`
      await server.createBucket(narrow, { file_size_limit: PART + 999, allowed_mime_types: ['image/*'] })
      const where = { Bucket: narrow, Key: 'a' }
      const text = s3.send(new CreateMultipartUploadCommand({ ...where, ContentType: 'text/plain' }))
      await expect(text).rejects.toMatchObject({ name: 'InvalidArgument' })
      const { UploadId } = await s3.send(
        new CreateMultipartUploadCommand({ ...where, ContentType: 'image/png' }),
      )
      await s3.send(new UploadPartCommand({ ...where, UploadId, PartNumber: 1, Body: large }))
      const tooMuch = s3.send(new UploadPartCommand({ ...where, UploadId, PartNumber: 2, Body: small }))
      await expect(tooMuch).rejects.toMatchObject({
        name: 'EntityTooLarge',
        $metadata: { httpStatusCode: 413 },
      })
      await s3.send(new AbortMultipartUploadCommand({ ...where, UploadId }))
      await expect(create('a//../b')).rejects.toMatchObject({ name: 'InvalidArgument' })
    })

    it('go with their bucket, and the cleanup removes what they have left', async () => {
      const place = await create('never')
      await send(place, 1, large)
      expect((await server.request('DELETE', `/bucket/${Bucket}`)).ok).toBe(true)
      await expect(send(place, 2, small)).rejects.toMatchObject({ name: 'NoSuchUpload' })
      await expect(complete(place, [])).rejects.toMatchObject({ name: 'NoSuchUpload' })
      await cleanUp(server)
      await expectNoDrift(server)
    })

    it('are the business of who began them, under the policies, by the operations that they name', async () => {
      await server.admin`
        create policy "parts of mine" on storage.objects for all to authenticated
        using (bucket_id = ${server.admin.unsafe(`'${Bucket}'`)})
        with check (bucket_id = ${server.admin.unsafe(`'${Bucket}'`)} and name like 'mine/%'
          and storage.operation() <> 'storage.s3.upload.complete_multipart')`
      const me = server.client(await server.session('me'))
      const you = server.client(await server.session('you'))
      const denied = { name: 'AccessDenied', $metadata: { httpStatusCode: 403 } }
      const begin = (Key: string) => me.send(new CreateMultipartUploadCommand({ Bucket, Key }))
      await expect(begin('other')).rejects.toMatchObject(denied)
      const { UploadId } = await begin('mine/a')
      const place = { Bucket, Key: 'mine/a', UploadId }
      const { ETag } = await me.send(new UploadPartCommand({ ...place, PartNumber: 1, Body: small }))
      await expect(
        you.send(new UploadPartCommand({ ...place, PartNumber: 1, Body: small })),
      ).rejects.toMatchObject(denied)
      await expect(you.send(new ListPartsCommand(place))).rejects.toMatchObject(denied)
      const end = { ...place, MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] } }
      await expect(me.send(new CompleteMultipartUploadCommand(end))).rejects.toMatchObject(denied)
      const mine = await me.send(new ListMultipartUploadsCommand({ Bucket }))
      expect(mine.Uploads?.map(({ Key }) => Key)).toEqual(['mine/a'])
      expect((await you.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads).toBeUndefined()
      await me.send(new AbortMultipartUploadCommand(place))
      await server.admin`drop policy "parts of mine" on storage.objects`
      await expectNoDrift(server)
    })
  })
}
