import { randomUUID } from 'node:crypto'
import {
  DeleteObjectsCommand,
  ListObjectVersionsCommand,
  type ListObjectVersionsCommandInput,
  type ListObjectVersionsCommandOutput,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { refusal } from '../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'

let server: S3TestServer
let Bucket: string
beforeAll(async () => {
  server = await startS3Server()
})
beforeEach(async () => {
  Bucket = `b-${randomUUID()}`
  await server.createBucket(Bucket, { versioning_status: 'ENABLED' })
})
afterAll(() => server.close())

type Input = Partial<ListObjectVersionsCommandInput>
const list = (input: Input = {}) => server.s3.send(new ListObjectVersionsCommand({ Bucket, ...input }))
const put = (Key: string, Body: string | Buffer) =>
  server.s3.send(new PutObjectCommand({ Bucket, Key, Body }))

/** As `/a: version, marker`: what a page shows, in order of keys. */
function shown({ Versions = [], DeleteMarkers = [], CommonPrefixes = [] }: ListObjectVersionsCommandOutput) {
  return [
    ...Versions.map(({ Key, Size, IsLatest }) => `${Key} ${Size}${IsLatest ? ' latest' : ''}`),
    ...DeleteMarkers.map(({ Key, IsLatest }) => `${Key} marker${IsLatest ? ' latest' : ''}`),
    ...CommonPrefixes.map(({ Prefix }) => `${Prefix} …`),
  ].sort()
}

/** All pages of a list, each of which begins where the one before says. */
async function pages(input: Input, between: (page: ListObjectVersionsCommandOutput) => Promise<unknown>) {
  const found: string[][] = []
  let next: Input = {}
  for (;;) {
    const page = await list({ ...input, ...next })
    found.push(shown(page))
    await between(page)
    if (!page.IsTruncated) return found
    expect(page.NextKeyMarker).toBeDefined()
    next = { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker }
  }
}

const ALL = [
  'a 1',
  'a 2',
  'a marker latest',
  'b/c 3',
  'b/c 4 latest',
  'b/d 5 latest',
  'b/e 6',
  'b/e marker latest',
  'f/ 0 latest',
  'g é 7 latest',
]

async function fill() {
  for (const [key, size] of [
    ['a', 1],
    ['a', 2],
    ['b/c', 3],
    ['b/c', 4],
    ['b/d', 5],
    ['b/e', 6],
    ['f/', 0],
    ['g é', 7],
  ] as const) {
    await put(key, Buffer.alloc(size, 'x'))
  }
  const Objects = ['a', 'b/e'].map((Key) => ({ Key }))
  await server.s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }))
}

describe('a list of versions by S3', () => {
  it('shows all of each key, also page by page, of any size', async () => {
    await fill()
    expect(shown(await list())).toEqual(ALL)
    for (let MaxKeys = 1; MaxKeys <= 4; MaxKeys++) {
      const found = await pages({ MaxKeys }, async () => {})
      expect(found.flat().sort()).toEqual(ALL)
      for (const page of found.slice(0, -1)) expect(page).toHaveLength(MaxKeys)
    }
  })

  it('shows what is below a delimiter once, and what has a prefix', async () => {
    await fill()
    const folded = ['a 1', 'a 2', 'a marker latest', 'b/ …', 'f/ …', 'g é 7 latest']
    for (const MaxKeys of [1, 2, 3, 1000]) {
      const found = await pages({ Delimiter: '/', MaxKeys }, async () => {})
      expect([MaxKeys, found.flat().sort()]).toEqual([MaxKeys, folded])
    }
    expect(shown(await list({ Prefix: 'b/', Delimiter: '/' }))).toEqual(ALL.slice(3, 8))
    expect(shown(await list({ Prefix: 'b/e' }))).toEqual(['b/e 6', 'b/e marker latest'])
    expect(shown(await list({ Prefix: 'f/' }))).toEqual(['f/ 0 latest'])
    expect(shown(await list({ Prefix: 'f/.e' }))).toEqual([])
    expect(shown(await list({ KeyMarker: 'b/d' }))).toEqual(ALL.slice(6))
  })

  it('goes on where it was, though what the page before has shown is deleted meanwhile', async () => {
    await fill()
    for (let n = 0; n < 5; n++) await put('a', 'y'.repeat(10 + n))
    const found = await pages({ MaxKeys: 3 }, async ({ Versions = [], DeleteMarkers = [] }) => {
      const Objects = [...Versions, ...DeleteMarkers].map(({ Key, VersionId }) => ({ Key, VersionId }))
      const { Errors } = await server.s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }))
      expect(Errors).toBeUndefined()
    })
    expect(found.flat()).toHaveLength(ALL.length + 5)
    expect(shown(await list())).toEqual([])
  })

  it('has versions and markers in one order, as there are clients that merge nothing', async () => {
    await fill()
    const answer = await server.send('GET', `/${Bucket}?versions&delimiter=%2F`)
    const said = [
      ...(await answer.text()).matchAll(/<(Version|DeleteMarker|CommonPrefixes)><(?:Key|Prefix)>(.*?)</g),
    ]
    expect(said.map(([, what, key]) => `${what} ${key}`)).toEqual([
      'DeleteMarker a',
      'Version a',
      'Version a',
      'Version g é',
      'CommonPrefixes b/',
      'CommonPrefixes f/',
    ])
    const headers = { accept: 'application/json' }
    const json = await server.send('GET', `/${Bucket}?versions&prefix=a`, { headers })
    const { ListVersionsResult } = (await json.json()) as Record<string, Record<string, { Key: string }[]>>
    expect(ListVersionsResult).toMatchObject({
      Version: [{ Key: 'a' }, { Key: 'a' }],
      DeleteMarker: [{ Key: 'a' }],
    })
  })

  it('says of each version what it is, and repeats what was asked', async () => {
    const { ETag, VersionId, ChecksumCRC32 } = await put('g é', 'text')
    const page = await list({ EncodingType: 'url', Prefix: 'g ', MaxKeys: 5 })
    expect(ChecksumCRC32).toBeDefined()
    expect(page.Versions).toEqual([
      {
        Key: 'g%20%C3%A9',
        VersionId,
        IsLatest: true,
        ETag,
        Size: 4,
        StorageClass: 'STANDARD',
        LastModified: expect.any(Date),
        ChecksumAlgorithm: ['CRC32'],
        ChecksumType: 'FULL_OBJECT',
        Owner: { ID: 'service_role', DisplayName: 'service_role' },
      },
    ])
    expect(page).toMatchObject({ Name: Bucket, Prefix: 'g%20', MaxKeys: 5, IsTruncated: false })
  })

  it('calls what was there before versions null', async () => {
    Bucket = `b-${randomUUID()}`
    await server.createBucket(Bucket)
    await put('a', 'old')
    expect((await list()).Versions).toMatchObject([{ VersionId: 'null', IsLatest: true }])
    await server.admin`update storage.buckets set versioning_status = 'ENABLED' where id = ${Bucket}`
    const { VersionId } = await put('a', 'newer')
    expect((await list()).Versions).toMatchObject([
      { VersionId, IsLatest: true },
      { VersionId: 'null', IsLatest: false },
    ])
    expect(shown(await list({ KeyMarker: 'a', VersionIdMarker: VersionId }))).toEqual(['a 3'])
    expect(shown(await list({ KeyMarker: 'a', VersionIdMarker: 'null' }))).toEqual([])
  })

  it('refuses what it cannot understand, and shows nothing of an unknown place', async () => {
    await fill()
    const invalid = [400, 'InvalidArgument']
    expect(await refusal(list({ VersionIdMarker: 'null' }))).toEqual(invalid)
    expect(await refusal(list({ MaxKeys: -1 }))).toEqual(invalid)
    const garbage = ['garbage', '9999999999999.9999999999', '..', "'", '#', '0'.repeat(4000)]
    for (const VersionIdMarker of garbage) {
      expect(shown(await list({ KeyMarker: 'a', VersionIdMarker }))).toEqual(ALL.slice(3))
    }
    expect(await list({ MaxKeys: 0 })).toMatchObject({ IsTruncated: false })
    Bucket = 'absent'
    expect(await refusal(list())).toEqual([404, 'NoSuchBucket'])
  })
})
