import { randomBytes } from 'node:crypto'
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  RenameObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { refusal } from '../../support/s3-errors.ts'
import { signedForm } from '../../support/s3-form.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { expectNoDrift } from '../../support/traces.ts'

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** In the database; a file; a stream; more than one piece of that. */
const SIZES = [5, 20_000, 300_000, 1_500_000]

/** Versions by aws-sdk, on a server with this environment. */
export function describeVersions(name: string, env: () => Promise<Record<string, string>>): void {
  describe(name, () => {
    let server: S3TestServer
    let Bucket: string
    let count = 0

    beforeAll(async () => {
      server = await startS3Server(await env())
    })
    afterAll(async () => {
      await expectNoDrift(server)
      await server.close()
    })

    async function bucketWith(Status?: 'Enabled' | 'Suspended'): Promise<string> {
      Bucket = `v-${++count}`
      await server.createBucket(Bucket)
      if (Status) await versioning(Status)
      return Bucket
    }
    const versioning = (Status: 'Enabled' | 'Suspended') =>
      server.s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status } }))
    const put = (Key: string, Body: string | Buffer, more: Partial<PutObjectCommandInput> = {}) =>
      server.s3.send(new PutObjectCommand({ Bucket, Key, Body, ...more }))
    const get = (Key: string, VersionId?: string) =>
      server.s3.send(new GetObjectCommand({ Bucket, Key, VersionId }))
    const bytesOf = async (Key: string, VersionId?: string) =>
      Buffer.from((await (await get(Key, VersionId)).Body?.transformToByteArray()) ?? [])
    const textOf = async (Key: string, VersionId?: string) => (await bytesOf(Key, VersionId)).toString()
    const remove = (Key: string, VersionId?: string) =>
      server.s3.send(new DeleteObjectCommand({ Bucket, Key, VersionId }))

    /** Key, id and what it is, of all that there is: newest first. */
    async function history(): Promise<(string | undefined)[][]> {
      const { Versions = [], DeleteMarkers = [] } = await server.s3.send(
        new ListObjectVersionsCommand({ Bucket }),
      )
      return [
        ...Versions.map((one) => [one.Key, one.VersionId, one.IsLatest ? 'latest' : 'former'] as const),
        ...DeleteMarkers.map(
          (one) => [one.Key, one.VersionId, one.IsLatest ? 'latest marker' : 'marker'] as const,
        ),
      ].map((row) => [...row])
    }

    describe('an answer tells the id under which the version is read later', () => {
      const ways: [name: string, write: (key: string, bytes: Buffer) => Promise<string | undefined>][] = [
        ['an upload', async (Key, Body) => (await put(Key, Body)).VersionId],
        [
          'an upload where nothing may be',
          async (Key, Body) => (await put(Key, Body, { IfNoneMatch: '*' })).VersionId,
        ],
        [
          'an upload under a condition',
          async (Key, Body) => {
            const { ETag } = await put(Key, 'before')
            return (await put(Key, Body, { IfMatch: ETag })).VersionId
          },
        ],
        [
          'a copy',
          async (Key, Body) => {
            const source = await put('source', Body)
            const CopySource = `/${Bucket}/source`
            const copy = await server.s3.send(new CopyObjectCommand({ Bucket, Key, CopySource }))
            expect(copy.CopySourceVersionId).toBe(source.VersionId)
            return copy.VersionId
          },
        ],
        [
          'an upload in parts',
          async (Key, Body) => {
            const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key }))
            const part = { Bucket, Key, UploadId, PartNumber: 1 }
            const { ETag } = await server.s3.send(new UploadPartCommand({ ...part, Body }))
            const Parts = [{ ETag, PartNumber: 1 }]
            const completion = { Bucket, Key, UploadId, MultipartUpload: { Parts } }
            const complete = () => server.s3.send(new CompleteMultipartUploadCommand(completion))
            const { VersionId } = await complete()
            expect((await complete()).VersionId).toBe(VersionId)
            return VersionId
          },
        ],
        [
          'a form',
          async (key, bytes) => {
            const form = signedForm({ key }, { bucket: Bucket, keys: server.keys3 })
            form.append('file', new Blob([new Uint8Array(bytes)]))
            const answer = await fetch(`${server.endpoint}/${Bucket}`, { method: 'POST', body: form })
            expect(answer.status, await answer.text()).toBe(204)
            return answer.headers.get('x-amz-version-id') ?? undefined
          },
        ],
      ]

      it.each(ways)(
        '%s',
        async (_, write) => {
          await bucketWith('Enabled')
          for (const size of SIZES) {
            const key = `of ${size}`
            const one = randomBytes(size)
            const first = await write(key, one)
            await remove(key)
            const two = randomBytes(size)
            const overMarker = await write(key, two)
            await put(key, 'last')
            expect([first, overMarker]).toEqual([expect.stringMatching(UUID), expect.stringMatching(UUID)])
            expect((await bytesOf(key, first)).equals(one), key).toBe(true)
            expect((await bytesOf(key, overMarker)).equals(two), key).toBe(true)
          }
          await versioning('Suspended')
          for (const size of SIZES) {
            const bytes = randomBytes(size)
            expect(await write(`null ${size}`, bytes)).toBe('null')
            expect((await bytesOf(`null ${size}`, 'null')).equals(bytes)).toBe(true)
          }
        },
        120_000,
      )

      it('none where a bucket never had versions', async () => {
        await bucketWith()
        for (const [, write] of ways.filter(([way]) => way !== 'a copy')) {
          for (const size of SIZES) {
            expect(await write('key', randomBytes(size))).toBeUndefined()
            await remove('key')
          }
        }
        await put('key', 'text')
        expect((await get('key')).VersionId).toBeUndefined()
        expect((await get('key', 'null')).VersionId).toBeUndefined()
        expect((await remove('key')).VersionId).toBeUndefined()
        expect((await remove('absent')).DeleteMarker).toBeUndefined()
      }, 60_000)
    })

    it('is read by its id, with all that is told of it, whatever has come since', async () => {
      await bucketWith('Enabled')
      const first = await put('a', 'one', { Metadata: { of: 'one' }, Tagging: 'n=1' })
      const second = await put('a', 'three')
      expect(await get('a', first.VersionId)).toMatchObject({
        VersionId: first.VersionId,
        ETag: first.ETag,
        ContentLength: 3,
        Metadata: { of: 'one' },
        TagCount: 1,
      })
      const head = { Bucket, Key: 'a', VersionId: first.VersionId }
      expect(await server.s3.send(new HeadObjectCommand(head))).toMatchObject({ ContentLength: 3 })
      const ObjectAttributes = ['ObjectSize' as const]
      const asked = new GetObjectAttributesCommand({ ...head, ObjectAttributes })
      expect(await server.s3.send(asked)).toMatchObject({ ObjectSize: 3, VersionId: first.VersionId })
      expect(await get('a')).toMatchObject({ VersionId: second.VersionId })
    })

    it('is copied, also over its own key, and is a part of another one', async () => {
      await bucketWith('Enabled')
      const first = await put('a', 'one')
      const second = await put('a', 'two')
      const CopySource = `${Bucket}/a?versionId=${first.VersionId}`
      const back = await server.s3.send(new CopyObjectCommand({ Bucket, Key: 'a', CopySource }))
      expect(back.CopySourceVersionId).toBe(first.VersionId)
      expect(back.VersionId).not.toBe(first.VersionId)
      expect(await textOf('a')).toBe('one')
      expect(await textOf('a', second.VersionId)).toBe('two')

      const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key: 'b' }))
      const part = { Bucket, Key: 'b', UploadId, PartNumber: 1, CopySource }
      const copied = await server.s3.send(new UploadPartCopyCommand(part))
      expect(copied.CopySourceVersionId).toBe(first.VersionId)
      const Parts = [{ ETag: copied.CopyPartResult?.ETag, PartNumber: 1 }]
      const MultipartUpload = { Parts }
      await server.s3.send(
        new CompleteMultipartUploadCommand({ Bucket, Key: 'b', UploadId, MultipartUpload }),
      )
      expect(await textOf('b')).toBe('one')
    })

    it('is deleted by its id, and what was before it moves up', async () => {
      await bucketWith('Enabled')
      const [one, two] = [await put('a', 'one'), await put('a', 'two')]
      const marker = await remove('a')
      expect(marker).toMatchObject({ DeleteMarker: true, VersionId: expect.stringMatching(UUID) })
      expect(await refusal(get('a'))).toEqual([404, 'NoSuchKey'])
      expect(await remove('a', marker.VersionId)).toMatchObject({
        DeleteMarker: true,
        VersionId: marker.VersionId,
      })
      expect(await textOf('a')).toBe('two')
      expect(await remove('a', two.VersionId)).toMatchObject({ VersionId: two.VersionId })
      expect(await textOf('a')).toBe('one')
      expect(await refusal(get('a', two.VersionId))).toEqual([404, 'NoSuchVersion'])
      // Again, as by a client whose answer was lost.
      await remove('a', two.VersionId)
      await remove('a', one.VersionId)
      expect(await history()).toEqual([])
    })

    it('is deleted with many others, and with names, which markers delete', async () => {
      await bucketWith('Enabled')
      const [one, two] = [await put('a', 'one'), await put('a', 'two')]
      await put('b', 'b')
      const marker = await remove('gone')
      const Objects = [
        { Key: 'a', VersionId: one.VersionId },
        { Key: 'b' },
        { Key: 'gone', VersionId: marker.VersionId },
        { Key: 'a', VersionId: '00000000-0000-4000-8000-000000000000' },
        { Key: 'a', VersionId: 'garbage' },
        { Key: 'a', VersionId: two.VersionId, ETag: '"another"' },
        { Key: 'never' },
      ]
      const { Deleted = [], Errors } = await server.s3.send(
        new DeleteObjectsCommand({ Bucket, Delete: { Objects } }),
      )
      const made = { DeleteMarker: true, DeleteMarkerVersionId: expect.stringMatching(UUID) }
      expect(Deleted).toEqual([
        { Key: 'a', VersionId: one.VersionId },
        { Key: 'b', ...made },
        {
          Key: 'gone',
          VersionId: marker.VersionId,
          DeleteMarker: true,
          DeleteMarkerVersionId: marker.VersionId,
        },
        { Key: 'a', VersionId: '00000000-0000-4000-8000-000000000000' },
        { Key: 'never', ...made },
      ])
      expect(Errors?.map(({ Key, VersionId, Code }) => [Key, VersionId, Code])).toEqual([
        ['a', 'garbage', 'InvalidArgument'],
        ['a', two.VersionId, 'PreconditionFailed'],
      ])
      expect(await refusal(get('b', Deleted[1]?.DeleteMarkerVersionId))).toEqual([405, 'MethodNotAllowed'])
      expect((await history()).map(([key, , what]) => [key, what])).toEqual([
        ['a', 'latest'],
        ['b', 'former'],
        ['b', 'latest marker'],
        ['never', 'latest marker'],
      ])
    })

    it('counts as absent to a condition, and as deleted to one of a deletion, when it is a marker', async () => {
      await bucketWith('Enabled')
      const { ETag } = await put('a', 'one')
      const marker = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: 'a', IfMatch: ETag }))
      expect(marker).toMatchObject({ DeleteMarker: true, VersionId: expect.stringMatching(UUID) })
      expect((await history()).at(-1)).toEqual(['a', marker.VersionId, 'latest marker'])
      expect(await refusal(put('a', 'two', { IfMatch: ETag }))).toEqual([404, 'NoSuchKey'])
      const made = await put('a', 'two', { IfNoneMatch: '*' })
      expect(await textOf('a', made.VersionId)).toBe('two')
      expect(await refusal(put('a', 'three', { IfNoneMatch: '*' }))).toEqual([412, 'PreconditionFailed'])
    })

    it('is null where versions are suspended, and was so before they were', async () => {
      await bucketWith()
      await put('a', 'before')
      await versioning('Enabled')
      expect((await get('a')).VersionId).toBe('null')
      const kept = await put('a', 'kept')
      expect(await textOf('a', 'null')).toBe('before')
      await versioning('Suspended')
      expect((await put('a', 'suspended')).VersionId).toBe('null')
      expect(await textOf('a', 'null')).toBe('suspended')
      expect((await put('a', 'again')).VersionId).toBe('null')
      expect(await remove('a')).toMatchObject({ DeleteMarker: true, VersionId: 'null' })
      expect(await history()).toEqual([
        ['a', kept.VersionId, 'former'],
        ['a', 'null', 'latest marker'],
      ])
      expect(await refusal(get('a', 'null'))).toEqual([405, 'MethodNotAllowed'])
      expect(await remove('a', 'null')).toMatchObject({ DeleteMarker: true, VersionId: 'null' })
      expect(await textOf('a')).toBe('kept')
      await server.s3.send(
        new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: 'a', VersionId: 'null' }] } }),
      )
      expect(await history()).toEqual([['a', kept.VersionId, 'latest']])
    })

    it('stays at the old key when its object is renamed, and what had the new one is a version', async () => {
      await bucketWith('Enabled')
      const source = await put('from', 'moved')
      const former = await put('to', 'former')
      await server.s3.send(new RenameObjectCommand({ Bucket, Key: 'to', RenameSource: 'from' }))
      expect(await refusal(get('from'))).toEqual([404, 'NoSuchKey'])
      expect(await textOf('from', source.VersionId)).toBe('moved')
      const { VersionId } = await get('to')
      expect(await textOf('to', VersionId)).toBe('moved')
      expect(await textOf('to', former.VersionId)).toBe('former')
      expect((await history()).map(([key, , what]) => [key, what])).toEqual([
        ['from', 'former'],
        ['to', 'latest'],
        ['to', 'former'],
        ['from', 'latest marker'],
      ])
    })
  })
}
