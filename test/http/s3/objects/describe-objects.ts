import { createHash, randomBytes } from 'node:crypto'
import {
  CopyObjectCommand,
  type CopyObjectCommandInput,
  DeleteObjectCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  type GetObjectCommandInput,
  HeadObjectCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  RenameObjectCommand,
  type RenameObjectCommandInput,
  type S3ServiceException,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  beginChecksum,
  CHECKSUM_ALGORITHMS,
  type ChecksumAlgorithm,
} from '../../../../src/model/checksums.ts'
import { objectParts } from '../../../../src/model/object-parts.ts'
import { refusal } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import { signRequest } from '../../../support/s3-signer.ts'
import { expectNoDrift } from '../../../support/traces.ts'

const md5 = (bytes: string | Buffer) => createHash('md5').update(bytes).digest()
const digest = (algorithm: ChecksumAlgorithm, bytes: string | Buffer) => {
  const running = beginChecksum(algorithm)
  running.update(Buffer.from(bytes))
  return running.digest().toString('base64')
}

/** Sizes around the length from which a body is streamed, and around what is read as one buffer. */
const SIZES = [0, 1, 262_144, 262_145, 1_500_000]

/** Objects, one at a time, by aws-sdk, on a server with this environment. */
export function describeObjects(name: string, env: () => Promise<Record<string, string>>): void {
  describe(name, () => {
    let server: S3TestServer
    const Bucket = 'box'
    const put = (Key: string, Body: string | Buffer, more: Partial<PutObjectCommandInput> = {}) =>
      server.s3.send(new PutObjectCommand({ Bucket, Key, Body, ...more }))
    const get = async (Key: string, more: Partial<GetObjectCommandInput> = {}) => {
      const { Body, ...answer } = await server.s3.send(new GetObjectCommand({ Bucket, Key, ...more }))
      return { ...answer, bytes: Buffer.from((await Body?.transformToByteArray()) ?? []) }
    }
    const head = (Key: string, more: Partial<GetObjectCommandInput> = {}) =>
      server.s3.send(new HeadObjectCommand({ Bucket, Key, ...more }))

    beforeAll(async () => {
      server = await startS3Server(await env())
      await server.createBucket(Bucket)
    })
    afterAll(async () => {
      await expectNoDrift(server)
      await server.close()
    })

    describe.each(SIZES)('of %i bytes', (size) => {
      it('are put, and read back whole and in part', async () => {
        const bytes = randomBytes(size)
        const Key = `sizes/${size}`
        const etag = `"${md5(bytes).toString('hex')}"`
        expect(await put(Key, bytes)).toMatchObject({ ETag: etag, ChecksumCRC32: digest('CRC32', bytes) })
        const whole = await get(Key)
        expect(whole.bytes.equals(bytes)).toBe(true)
        expect(whole).toMatchObject({ ETag: etag, ContentLength: size, AcceptRanges: 'bytes' })
        expect(await head(Key)).toMatchObject({ ETag: etag, ContentLength: size })
        const rest = await server.request('GET', `/object/${Bucket}/${Key}`)
        expect(rest.headers.get('etag')).toBe(etag)
        expect(Buffer.from(await rest.arrayBuffer()).equals(bytes)).toBe(true)
        if (size < 2) return
        const end = await get(Key, { Range: 'bytes=-2' })
        expect(end.bytes.equals(bytes.subarray(-2))).toBe(true)
        expect(end).toMatchObject({
          ContentRange: `bytes ${size - 2}-${size - 1}/${size}`,
          $metadata: { httpStatusCode: 206 },
        })
        expect(await head(Key, { Range: 'bytes=0-0' })).toMatchObject({
          ContentLength: 1,
          ContentRange: `bytes 0-0/${size}`,
          $metadata: { httpStatusCode: 206 },
        })
      })
    })

    describe.each(CHECKSUM_ALGORITHMS)('with %s', (algorithm) => {
      const field = `Checksum${algorithm}` as 'ChecksumCRC32'
      const value = digest(algorithm, 'hello')

      it('are checked, and told of it to who asks', async () => {
        const Key = `checksums/${algorithm}`
        expect(await put(Key, 'hello', { [field]: value })).toMatchObject({
          [field]: value,
          ChecksumType: 'FULL_OBJECT',
        })
        expect(await head(Key, { ChecksumMode: 'ENABLED' })).toMatchObject({
          [field]: value,
          ChecksumType: 'FULL_OBJECT',
        })
        expect((await get(Key, { ChecksumMode: 'ENABLED' })).bytes.toString()).toBe('hello')
        const plain = server.client(server.keys3, { responseChecksumValidation: 'WHEN_REQUIRED' })
        const unasked = await plain.send(new HeadObjectCommand({ Bucket, Key }))
        expect(unasked[field]).toBeUndefined()
      })

      it.each(['hello', 'x'.repeat(300_000)])('are not stored when it is another one', async (Body) => {
        const Key = `checksums/wrong-${algorithm}-${Body.length}`
        expect(await refusal(put(Key, Body, { [field]: digest(algorithm, 'other') }))).toEqual([
          400,
          'BadDigest',
        ])
        expect(await refusal(head(Key))).toEqual([404, 'NotFound'])
      })

      it('is computed for who only names it', async () => {
        const client = server.client(server.keys3, { requestChecksumCalculation: 'WHEN_REQUIRED' })
        const Key = `checksums/named-${algorithm}`
        await client.send(new PutObjectCommand({ Bucket, Key, Body: 'hello', ChecksumAlgorithm: algorithm }))
        expect(await head(Key, { ChecksumMode: 'ENABLED' })).toMatchObject({ [field]: value })
      })
    })
    describe('what is told of them', () => {
      it('is kept with them, and told again', async () => {
        const told = {
          ContentType: 'text/html; charset=utf-8',
          CacheControl: 'max-age=60, public',
          ContentEncoding: 'gzip',
          ContentDisposition: 'attachment; filename="a.html"',
          ContentLanguage: 'de',
          Metadata: { owner: 'ann', 'x-y': 'two  words' },
        }
        const expires = 'Thu, 01 Dec 2033 16:00:00 GMT'
        await put('told', 'hello', { ...told, Expires: new Date(expires), Tagging: 'a=1&b=two%20words' })
        const answer = { ...told, ExpiresString: expires, TagCount: 2 }
        expect(await head('told')).toMatchObject({ ...told, ExpiresString: expires })
        expect(await get('told')).toMatchObject(answer)
        const info = await server.request('GET', `/object/info/${Bucket}/told`)
        expect(await info.json()).toMatchObject({
          metadata: told.Metadata,
          content_type: told.ContentType,
          content_encoding: 'gzip',
        })
      })

      it('is of its extension when nothing is said', async () => {
        await server.send('PUT', `/${Bucket}/a.png`, { body: Buffer.from('hello') })
        expect(await head('a.png')).toMatchObject({ ContentType: 'image/png', Metadata: {} })
      })

      it('is what the reader wants it to be', async () => {
        await put('overridden', 'hello', { ContentType: 'text/plain' })
        const answer = await get('overridden', {
          ResponseCacheControl: 'no-store',
          ResponseContentDisposition: 'inline',
          ResponseContentEncoding: 'identity',
          ResponseContentLanguage: 'fr',
          ResponseContentType: 'image/gif',
        })
        expect(answer).toMatchObject({
          CacheControl: 'no-store',
          ContentDisposition: 'inline',
          ContentEncoding: 'identity',
          ContentLanguage: 'fr',
          ContentType: 'image/gif',
        })
        const bad = get('overridden', { ResponseContentType: 'image/gif\r\nx: y' })
        expect(await refusal(bad)).toEqual([400, 'InvalidArgument'])
      })

      it('leaves out, and counts, what REST has stored and no header can say', async () => {
        const metadata = {
          plain: 'yes',
          nested: { a: 1 },
          'not a name': 'x',
          umlaut: 'ü',
          long: 'x'.repeat(3000),
        }
        await server.request('POST', `/object/${Bucket}/by-rest`, {
          headers: { 'x-metadata': Buffer.from(JSON.stringify(metadata)).toString('base64') },
          body: 'hello',
        })
        expect(await head('by-rest', { ChecksumMode: 'ENABLED' })).toMatchObject({
          Metadata: { plain: 'yes' },
          MissingMeta: 4,
          ETag: `"sha256-${createHash('sha256').update('hello').digest('base64url')}"`,
          ChecksumSHA256: digest('SHA256', 'hello'),
          ChecksumType: 'FULL_OBJECT',
        })
        expect((await get('by-rest', { ChecksumMode: 'ENABLED' })).bytes.toString()).toBe('hello')
      })

      it('is in UTF-8 what it was', async () => {
        const url = `${server.endpoint}/${Bucket}/utf8`
        const signed = signRequest(
          { method: 'PUT', url, body: 'hello', headers: { 'x-amz-meta-name': 'Zoë' } },
          server.keys3,
        )
        const headers = { ...signed, 'x-amz-meta-name': Buffer.from('Zoë').toString('latin1') }
        expect((await fetch(url, { method: 'PUT', headers, body: 'hello' })).status).toBe(200)
        const info = await server.request('GET', `/object/info/${Bucket}/utf8`)
        expect(await info.json()).toMatchObject({ metadata: { name: 'Zoë' } })
        expect(await head('utf8')).toMatchObject({ Metadata: {}, MissingMeta: 1 })
      })

      it('keeps pages from running scripts, and their true type', async () => {
        await put('page', '<script>', { ContentType: 'text/html' })
        const response = await server.send('GET', `/${Bucket}/page`)
        expect(response.headers.get('content-type')).toBe('text/html')
        expect(response.headers.get('content-security-policy')).toContain('sandbox')
      })
    })

    describe('reading', () => {
      const etag = `"${md5('hello').toString('hex')}"`
      const past = new Date('2000-01-01')
      const future = new Date('2037-01-01')
      beforeAll(() => put('read', 'hello'))

      it.each<[condition: Partial<GetObjectCommandInput>, status: number]>([
        [{ IfMatch: etag }, 200],
        [{ IfMatch: etag.slice(1, -1) }, 200],
        [{ IfMatch: '*' }, 200],
        [{ IfMatch: '"other"' }, 412],
        [{ IfNoneMatch: etag }, 304],
        [{ IfNoneMatch: etag.slice(1, -1) }, 304],
        [{ IfNoneMatch: '"other"' }, 200],
        [{ IfModifiedSince: past }, 200],
        [{ IfModifiedSince: future }, 304],
        [{ IfUnmodifiedSince: past }, 412],
        [{ IfUnmodifiedSince: future }, 200],
        [{ IfMatch: etag, IfUnmodifiedSince: past }, 200],
        [{ IfNoneMatch: '"other"', IfModifiedSince: future }, 200],
        [{ IfNoneMatch: etag, IfModifiedSince: past }, 304],
      ])('with %j is %i', async (condition, status) => {
        for (const Command of [GetObjectCommand, HeadObjectCommand]) {
          const asked = server.s3.send(new Command({ Bucket, Key: 'read', ...condition }))
          const answered = await asked.then(
            ({ $metadata }) => $metadata.httpStatusCode,
            (error: S3ServiceException) => error.$metadata.httpStatusCode,
          )
          expect(answered).toBe(status)
        }
      })

      it('says the digest of the whole, of a part of it too, and not that it is as it was', async () => {
        const whole = `sha-256=:${digest('SHA256', 'hello')}:`
        const says = async (method: string, headers: Record<string, string> = {}) => {
          const answer = await server.send(method, `/${Bucket}/read`, { headers })
          await answer.arrayBuffer()
          return [answer.status, answer.headers.get('repr-digest')]
        }
        expect(await says('GET')).toEqual([200, whole])
        expect(await says('HEAD')).toEqual([200, whole])
        expect(await says('GET', { range: 'bytes=1-2' })).toEqual([206, whole])
        expect(await says('GET', { 'if-none-match': etag })).toEqual([304, null])
      })

      it('of a range that is not there is 416, and of several the whole', async () => {
        expect(await refusal(get('read', { Range: 'bytes=5-' }))).toEqual([416, 'InvalidRange'])
        expect((await get('read', { Range: 'bytes=0-0,2-3' })).bytes.toString()).toBe('hello')
      })

      it('of a part, where there is one, is all of it', async () => {
        const one = await get('read', { PartNumber: 1 })
        expect(one).toMatchObject({ ContentRange: 'bytes 0-4/5', $metadata: { httpStatusCode: 206 } })
        expect([one.bytes.toString(), one.PartsCount]).toEqual(['hello', undefined])
        expect(await refusal(get('read', { PartNumber: 2 }))).toEqual([416, 'InvalidPartNumber'])
        expect(await refusal(get('read', { PartNumber: 1, Range: 'bytes=0-1' }))).toEqual([
          400,
          'InvalidRequest',
        ])
        for (const number of ['0', '10001', 'x', '-1']) {
          const response = await server.send('GET', `/${Bucket}/read?partNumber=${number}`)
          expect(response.status).toBe(400)
        }
      })

      it('what is not there is 404, whatever is missed', async () => {
        expect(await refusal(get('nothing'))).toEqual([404, 'NoSuchKey'])
        expect(await refusal(head('nothing'))).toEqual([404, 'NotFound'])
        const elsewhere = server.s3.send(new GetObjectCommand({ Bucket: 'no-bucket', Key: 'a' }))
        expect(await refusal(elsewhere)).toEqual([404, 'NoSuchBucket'])
        expect(await refusal(get('read', { VersionId: 'other' }))).toEqual([400, 'InvalidArgument'])
        expect((await get('read', { VersionId: 'null' })).bytes.toString()).toBe('hello')
      })
    })

    describe('an object that came in parts', () => {
      const bytes = Buffer.from('aaaaaaaabbbbbbbbcc')
      const parts = [bytes.subarray(0, 8), bytes.subarray(8, 16), bytes.subarray(16)]
      const value = (part: Buffer) => digest('CRC32', part)
      const all = Buffer.concat(parts.map((part) => Buffer.from(value(part), 'base64')))
      const checksum = { algorithm: 'CRC32', type: 'COMPOSITE', value: `${digest('CRC32', all)}-3` }
      const etag = `"${md5(Buffer.concat(parts.map(md5))).toString('hex')}-3"`

      beforeAll(async () => {
        await put('parts', bytes)
        const metadata = {
          eTag: etag,
          checksum,
          parts: objectParts(parts.map((part) => ({ size: part.length, checksum: value(part) }))),
        }
        await server.admin`update storage.objects set metadata = metadata || ${JSON.stringify(metadata)}::text::jsonb
          where name = 'parts'`
      })

      it('is read by each of them', async () => {
        for (const [n, part] of parts.entries()) {
          const answer = await get('parts', { PartNumber: n + 1, ChecksumMode: 'ENABLED' })
          expect(answer).toMatchObject({
            PartsCount: 3,
            ETag: etag,
            ContentRange: `bytes ${n * 8}-${n * 8 + part.length - 1}/18`,
            ChecksumCRC32: value(part),
            ChecksumType: 'COMPOSITE',
          })
          expect(answer.bytes).toEqual(part)
        }
        expect(await head('parts', { PartNumber: 3 })).toMatchObject({ PartsCount: 3, ContentLength: 2 })
        expect(await refusal(get('parts', { PartNumber: 4 }))).toEqual([416, 'InvalidPartNumber'])
        expect(await get('parts', { ChecksumMode: 'ENABLED' })).toMatchObject({
          ChecksumCRC32: checksum.value,
        })
      })

      it('has them among its attributes, a page at a time', async () => {
        const ask = (MaxParts: number, PartNumberMarker: string) =>
          server.s3.send(
            new GetObjectAttributesCommand({
              Bucket,
              Key: 'parts',
              ObjectAttributes: ['ETag', 'Checksum', 'ObjectParts', 'StorageClass', 'ObjectSize'],
              MaxParts,
              PartNumberMarker,
            }),
          )
        expect(await ask(2, '0')).toMatchObject({
          ETag: etag.slice(1, -1),
          Checksum: { ChecksumCRC32: checksum.value, ChecksumType: 'COMPOSITE' },
          ObjectParts: {
            TotalPartsCount: 3,
            IsTruncated: true,
            NextPartNumberMarker: '2',
            Parts: [1, 2].map((n) => ({
              PartNumber: n,
              Size: 8,
              ChecksumCRC32: value(parts[n - 1] ?? Buffer.alloc(0)),
            })),
          },
          StorageClass: 'STANDARD',
          ObjectSize: 18,
          LastModified: expect.any(Date),
        })
        const { ObjectParts: rest } = await ask(2, '2')
        expect(rest).toMatchObject({ IsTruncated: false, Parts: [{ PartNumber: 3, Size: 2 }] })
        // Who asks for none has no next page to ask for without end.
        expect((await ask(0, '0')).ObjectParts).toMatchObject({ IsTruncated: false, TotalPartsCount: 3 })
      })

      it('is copied with all that is known of it', async () => {
        await server.s3.send(
          new CopyObjectCommand({ Bucket, Key: 'parts-copy', CopySource: `${Bucket}/parts` }),
        )
        expect(await head('parts-copy', { PartNumber: 2, ChecksumMode: 'ENABLED' })).toMatchObject({
          ETag: etag,
          PartsCount: 3,
          ChecksumCRC32: value(bytes.subarray(8, 16)),
        })
      })

      it('is one in one piece when plain SQL has written nonsense', async () => {
        await put('nonsense', 'hello')
        await server.admin`update storage.objects set metadata = metadata ||
          '{"parts": {"sizes": [[2, 4]]}, "checksum": {"algorithm": "X"}, "contentDisposition": "a\\nb"}'
          where name = 'nonsense'`
        const answer = await head('nonsense', { ChecksumMode: 'ENABLED' })
        expect(answer).toMatchObject({ ChecksumSHA256: digest('SHA256', 'hello') })
        expect([answer.ContentDisposition, answer.PartsCount]).toEqual([undefined, undefined])
      })
    })

    describe('attributes', () => {
      it('of an object in one piece have no parts', async () => {
        await put('attributes', 'hello')
        const answer = await server.s3.send(
          new GetObjectAttributesCommand({
            Bucket,
            Key: 'attributes',
            ObjectAttributes: ['ETag', 'ObjectParts', 'Checksum'],
          }),
        )
        expect(answer).toMatchObject({
          ETag: md5('hello').toString('hex'),
          Checksum: { ChecksumCRC32: digest('CRC32', 'hello') },
        })
        expect([answer.ObjectParts, answer.ObjectSize]).toEqual([undefined, undefined])
      })

      it.each(['', 'ETag,Colour', 'toString'])('%j cannot be asked for', async (wanted) => {
        const headers = { 'x-amz-object-attributes': wanted }
        const response = await server.send('GET', `/${Bucket}/attributes?attributes`, { headers })
        expect(response.status).toBe(400)
      })
    })

    describe('a deletion', () => {
      const remove = (Key: string, more = {}) =>
        server.s3.send(new DeleteObjectCommand({ Bucket, Key, ...more }))

      it('takes an object away, and is as well where there is none', async () => {
        await put('gone', 'hello')
        expect((await remove('gone')).$metadata.httpStatusCode).toBe(204)
        expect(await refusal(get('gone'))).toEqual([404, 'NoSuchKey'])
        expect((await remove('gone')).$metadata.httpStatusCode).toBe(204)
        const elsewhere = server.s3.send(new DeleteObjectCommand({ Bucket: 'no-bucket', Key: 'a' }))
        expect(await refusal(elsewhere)).toEqual([404, 'NoSuchBucket'])
      })

      it('keeps to its condition', async () => {
        const { ETag } = await put('kept', 'hello')
        expect(await refusal(remove('kept', { IfMatch: '"other"' }))).toEqual([412, 'PreconditionFailed'])
        expect((await get('kept')).bytes.toString()).toBe('hello')
        expect((await remove('kept', { IfMatch: ETag })).$metadata.httpStatusCode).toBe(204)
        expect(await refusal(remove('kept', { IfMatchSize: 5 }))).toEqual([501, 'NotImplemented'])
      })
    })

    describe('a conditional write', () => {
      const writes = {
        put: (Key: string, condition: { IfMatch?: string; IfNoneMatch?: string }) =>
          put(Key, 'new', condition),
        copy: async (Key: string, condition: { IfMatch?: string; IfNoneMatch?: string }) => {
          await put('copied', 'new')
          return server.s3.send(
            new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/copied`, ...condition }),
          )
        },
      }

      it.each(Object.entries(writes))('by %s', async (way, write) => {
        const Key = `conditional-${way}`
        expect(await refusal(write(Key, { IfMatch: '"any"' }))).toEqual([404, 'NoSuchKey'])
        await write(Key, { IfNoneMatch: '*' })
        expect(await refusal(write(Key, { IfNoneMatch: '*' }))).toEqual([412, 'PreconditionFailed'])
        const { ETag = '' } = await put(Key, 'old')
        expect(await refusal(write(Key, { IfMatch: '"other"' }))).toEqual([412, 'PreconditionFailed'])
        expect((await get(Key)).bytes.toString()).toBe('old')
        await write(Key, { IfMatch: ETag })
        expect((await get(Key)).bytes.toString()).toBe('new')
      })

      it('lets one of many win', async () => {
        const bodies = Array.from({ length: 8 }, (_, n) => `writer ${n}`)
        const outcomes = await Promise.all(
          bodies.map((body) =>
            put('raced', body, { IfNoneMatch: '*' }).then(
              () => body,
              () => null,
            ),
          ),
        )
        const winners = outcomes.filter((body) => body !== null)
        expect(winners).toHaveLength(1)
        expect((await get('raced')).bytes.toString()).toBe(winners[0])
      })
    })

    describe('a copy', () => {
      const copy = (Key: string, CopySource: string, more: Partial<CopyObjectCommandInput> = {}) =>
        server.s3.send(new CopyObjectCommand({ Bucket, Key, CopySource, ...more }))
      const source = {
        ContentType: 'text/css',
        CacheControl: 'max-age=5',
        Metadata: { a: 'b' },
        ContentDisposition: 'inline',
      }
      const odd = 'odd +%?&=/ü.txt'
      beforeAll(async () => {
        await put('source', 'hello', { ...source, ChecksumSHA1: digest('SHA1', 'hello') })
        await put(odd, 'odd')
      })

      it('says what its source says', async () => {
        const { CopyObjectResult } = await copy('copy', `${Bucket}/source`)
        expect(CopyObjectResult).toMatchObject({
          ETag: `"${md5('hello').toString('hex')}"`,
          ChecksumSHA1: digest('SHA1', 'hello'),
          LastModified: expect.any(Date),
        })
        expect(await head('copy')).toMatchObject(source)
        expect((await get('copy')).bytes.toString()).toBe('hello')
      })

      it.each([`/${Bucket}/source`, `${Bucket}/source?versionId=null`, `${Bucket}/sourc%65`])(
        'of %s',
        async (from) => {
          await copy('another', from)
          expect((await get('another')).bytes.toString()).toBe('hello')
        },
      )

      it('of an odd name', async () => {
        await copy('odd-copy', encodeURIComponent(`${Bucket}/${odd}`))
        expect((await get('odd-copy')).bytes.toString()).toBe('odd')
      })

      it('says what its client says, and nothing of its source', async () => {
        await copy('replaced.gif', `${Bucket}/source`, { MetadataDirective: 'REPLACE', Metadata: { c: 'd' } })
        const answer = await head('replaced.gif')
        expect(answer).toMatchObject({ ContentType: 'image/gif', Metadata: { c: 'd' } })
        expect([answer.ContentDisposition, answer.CacheControl]).toEqual([undefined, 'no-cache'])
      })

      it('of an object to itself changes what is told, or is refused', async () => {
        await put('itself', 'hello', { Metadata: { a: 'b' } })
        expect(await refusal(copy('itself', `${Bucket}/itself`))).toEqual([400, 'InvalidRequest'])
        await copy('itself', `${Bucket}/itself`, { MetadataDirective: 'REPLACE', Metadata: { e: 'f' } })
        expect(await head('itself')).toMatchObject({ Metadata: { e: 'f' } })
        expect((await get('itself')).bytes.toString()).toBe('hello')
      })

      it.each(CHECKSUM_ALGORITHMS)('is checked by %s, if its client wants that', async (algorithm) => {
        const { CopyObjectResult } = await copy(`by-${algorithm}`, `${Bucket}/source`, {
          ChecksumAlgorithm: algorithm,
        })
        expect(CopyObjectResult).toMatchObject({ [`Checksum${algorithm}`]: digest(algorithm, 'hello') })
        expect(await head(`by-${algorithm}`, { ChecksumMode: 'ENABLED' })).toMatchObject({
          [`Checksum${algorithm}`]: digest(algorithm, 'hello'),
        })
      })

      it.each<[condition: Partial<CopyObjectCommandInput>, isCopied: boolean]>([
        [{ CopySourceIfMatch: md5('hello').toString('hex') }, true],
        [{ CopySourceIfMatch: '"other"' }, false],
        [{ CopySourceIfNoneMatch: '"other"' }, true],
        [{ CopySourceIfNoneMatch: `"${md5('hello').toString('hex')}"` }, false],
        [{ CopySourceIfModifiedSince: new Date('2000-01-01') }, true],
        [{ CopySourceIfModifiedSince: new Date('2037-01-01') }, false],
        [{ CopySourceIfUnmodifiedSince: new Date('2037-01-01') }, true],
        [{ CopySourceIfUnmodifiedSince: new Date('2000-01-01') }, false],
      ])('with %j: %s', async (condition, isCopied) => {
        const copied = copy('conditional', `${Bucket}/source`, condition)
        if (isCopied) await copied
        else expect(await refusal(copied)).toEqual([412, 'PreconditionFailed'])
      })

      it.each<[source: string, status: number, code: string, more?: Partial<CopyObjectCommandInput>]>([
        ['nothing', 400, 'InvalidArgument'],
        [`${Bucket}/`, 400, 'InvalidArgument'],
        [`${Bucket}/%zz`, 400, 'InvalidArgument'],
        [`${Bucket}/source?versionId=5`, 400, 'InvalidArgument'],
        [`${Bucket}/nothing`, 404, 'NoSuchKey'],
        ['no-bucket/source', 404, 'NoSuchBucket'],
        [`${Bucket}/source`, 400, 'InvalidArgument', { MetadataDirective: 'MERGE' as 'COPY' }],
        [`${Bucket}/source`, 400, 'InvalidRequest', { ChecksumAlgorithm: 'MD4' as 'CRC32' }],
      ])('of %s is %i %s', async (from, status, code, more) => {
        expect(await refusal(copy('refused', from, more))).toEqual([status, code])
        expect(await refusal(head('refused'))).toEqual([404, 'NotFound'])
      })
    })

    describe('a new name', () => {
      const rename = (Key: string, RenameSource: string, more: Partial<RenameObjectCommandInput> = {}) =>
        server.s3.send(new RenameObjectCommand({ Bucket, Key, RenameSource, ...more }))

      it.each([`/${Bucket}/a/old`, `${Bucket}/a/old`, 'a/old', 'a%2Fold'])('for %s', async (from) => {
        const { ETag } = await put('a/old', 'hello', { Metadata: { a: 'b' } })
        await rename('new', from)
        expect(await get('new')).toMatchObject({ ETag, Metadata: { a: 'b' } })
        expect(await refusal(get('a/old'))).toEqual([404, 'NoSuchKey'])
      })

      it('takes away what has it, or not', async () => {
        await put('taken', 'old')
        const { ETag } = await put('coming', 'new')
        const unless = rename('taken', 'coming', { DestinationIfNoneMatch: '*' })
        expect(await refusal(unless)).toEqual([412, 'PreconditionFailed'])
        const wrong = rename('taken', 'coming', { DestinationIfMatch: ETag ?? '' })
        expect(await refusal(wrong)).toEqual([412, 'PreconditionFailed'])
        const wrongSource = rename('taken', 'coming', { SourceIfMatch: '"other"' })
        expect(await refusal(wrongSource)).toEqual([412, 'PreconditionFailed'])
        expect((await get('taken')).bytes.toString()).toBe('old')
        await rename('taken', 'coming', { SourceIfMatch: ETag ?? '' })
        expect((await get('taken')).bytes.toString()).toBe('new')
        expect(await refusal(get('coming'))).toEqual([404, 'NoSuchKey'])
      })

      it('is refused for what is not there, or is elsewhere', async () => {
        await put('stays', 'old')
        expect(await refusal(rename('stays', 'nothing'))).toEqual([404, 'NoSuchKey'])
        expect(await refusal(rename('stays', '/elsewhere/stays'))).toEqual([400, 'InvalidArgument'])
        const since = rename('stays', 'stays', { SourceIfModifiedSince: new Date('2000-01-01') })
        expect(await refusal(since)).toEqual([501, 'NotImplemented'])
        expect((await get('stays')).bytes.toString()).toBe('old')
      })
    })
  })
}
