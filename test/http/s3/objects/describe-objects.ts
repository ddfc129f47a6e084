import { createHash, randomBytes } from 'node:crypto'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandInput,
  HeadObjectCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  beginChecksum,
  CHECKSUM_ALGORITHMS,
  type ChecksumAlgorithm,
} from '../../../../src/model/checksums.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import { expectNoDrift } from '../../../support/traces.ts'

const md5 = (bytes: string | Buffer) => createHash('md5').update(bytes).digest()
const digest = (algorithm: ChecksumAlgorithm, bytes: string | Buffer) => {
  const running = beginChecksum(algorithm)
  running.update(Buffer.from(bytes))
  return running.digest().toString('base64')
}

/** What an S3 client is told when it is refused. */
export async function refusal(asking: Promise<unknown>): Promise<[status: number | undefined, code: string]> {
  try {
    await asking
  } catch (error) {
    if (error instanceof S3ServiceException) return [error.$metadata.httpStatusCode, error.name]
    throw error
  }
  throw new Error('it was not refused')
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
    void DeleteObjectCommand
  })
}
