import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  NoSuchKey,
  PutBucketAclCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  RenameObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import type { Served } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/** What S3 clients change is never answered from memory, neither by REST nor by S3. */

let proxy: PostgresProxy
let server: S3TestServer
let second: Served
let atSecond: S3Client
let count = 0
let Bucket: string
beforeAll(async () => {
  proxy = await openPostgresProxy()
  server = await startS3Server({}, { databaseUrl: (name) => proxy.url(name) })
  second = await server.beside()
  atSecond = server.client(server.keys3, { endpoint: `${second.url}/storage/v1/s3` })
})
beforeEach(async () => {
  Bucket = `open-${++count}`
  await server.createBucket(Bucket, { public: true })
  await put('here', 'before')
  await put('other', 'after')
})
afterAll(async () => {
  await second.close()
  await server.close()
  await proxy.close()
})

const put = (Key: string, Body: string) => server.s3.send(new PutObjectCommand({ Bucket, Key, Body }))

async function byRest(name: string, on: Served = server): Promise<string> {
  const response = await on.request('GET', `/storage/v1/object/public/${Bucket}/${name}`, { token: null })
  const body = await response.text()
  return response.ok ? body : `${response.status}`
}

async function byS3(Key: string, client = server.s3): Promise<string> {
  try {
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }))
    return (await Body?.transformToString()) ?? ''
  } catch (error) {
    if (error instanceof NoSuchKey) return '404'
    throw error
  }
}

/** Reads by both until REST asks the database no more. */
async function warm(name: string, body: string) {
  await until(async () => {
    expect(await byS3(name)).toBe(body)
    proxy.arm(0)
    expect(await byRest(name)).toBe(body)
    return !proxy.roundTrips.some((text) => text.includes('read_object'))
  }, 'an object that is read again and again is in memory')
  for (let round = 0; round < 5; round++) expect(await byRest(name, second)).toBe(body)
}

const CHANGES: [what: string, change: () => Promise<unknown>, here: string, other: string][] = [
  ['an overwrite', () => put('here', 'after'), 'after', 'after'],
  ['a deletion', () => server.s3.send(new DeleteObjectCommand({ Bucket, Key: 'here' })), '404', 'after'],
  [
    'a deletion of many',
    () =>
      server.s3.send(
        new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: 'here' }, { Key: 'other' }] } }),
      ),
    '404',
    '404',
  ],
  [
    'a copy over it',
    () => server.s3.send(new CopyObjectCommand({ Bucket, Key: 'here', CopySource: `${Bucket}/other` })),
    'after',
    'after',
  ],
  [
    'a new name over it',
    () => server.s3.send(new RenameObjectCommand({ Bucket, Key: 'here', RenameSource: 'other' })),
    'after',
    '404',
  ],
  [
    'a new name of it',
    () => server.s3.send(new RenameObjectCommand({ Bucket, Key: 'other', RenameSource: 'here' })),
    '404',
    'before',
  ],
  ['an upload in parts', inParts, 'after', 'after'],
  [
    'an ACL that makes its bucket private',
    () => server.s3.send(new PutBucketAclCommand({ Bucket, ACL: 'private' })),
    'private',
    'private',
  ],
]

async function inParts(): Promise<void> {
  const place = { Bucket, Key: 'here' }
  const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand(place))
  const part = { ...place, UploadId, PartNumber: 1 }
  const { ETag } = await server.s3.send(new UploadPartCommand({ ...part, Body: 'after' }))
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
  await server.s3.send(new CompleteMultipartUploadCommand({ ...place, UploadId, MultipartUpload }))
}

describe.each(CHANGES)('%s by S3', (what, change, here, other) => {
  it('is seen at once here, and soon on another server', async () => {
    await warm('here', 'before')
    await warm('other', 'after')
    await change()
    // Who signs as the service reads on in a private bucket.
    const isPrivate = here === 'private'
    const open = isPrivate ? ['404', '404'] : [here, other]
    const signed = isPrivate ? ['before', 'after'] : [here, other]
    expect([await byRest('here'), await byRest('other')]).toEqual(open)
    expect([await byS3('here'), await byS3('other')]).toEqual(signed)
    await until(
      async () => `${[await byRest('here', second), await byRest('other', second)]}` === `${open}`,
      `${what} is seen on the other server`,
    )
    expect([await byS3('here', atSecond), await byS3('other', atSecond)]).toEqual(signed)
  })
})

it('tags by S3 leave what is in memory true', async () => {
  await warm('here', 'before')
  const TagSet = [{ Key: 'a', Value: 'b' }]
  await server.s3.send(new PutObjectTaggingCommand({ Bucket, Key: 'here', Tagging: { TagSet } }))
  expect(await byRest('here')).toBe('before')
  const { TagCount } = await server.s3.send(new GetObjectCommand({ Bucket, Key: 'here' }))
  expect(TagCount).toBe(1)
})
