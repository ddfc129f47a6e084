import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { refusal, told } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import type { Served } from '../../../support/server.ts'

const Bucket = 'folders'
const MARKER = '.emptyFolderPlaceholder'
let server: S3TestServer
let compat: Served
beforeAll(async () => {
  server = await startS3Server()
  compat = await server.beside({ STORAGE_COMPAT: 'supabase' })
  await server.createBucket(Bucket, { allowed_mime_types: ['image/*'] })
})
afterAll(async () => {
  await compat.close()
  await server.close()
})

const put = (Key: string, Body = '') =>
  server.s3.send(
    new PutObjectCommand({ Bucket, Key, Body, ContentType: Body ? 'image/png' : 'application/x-directory' }),
  )
const head = (Key: string) => server.s3.send(new HeadObjectCommand({ Bucket, Key }))
const list = async (Prefix: string, Delimiter?: string) => {
  const page = await server.s3.send(new ListObjectsV2Command({ Bucket, Prefix, Delimiter }))
  return [page.Contents?.map(({ Key }) => Key) ?? [], page.CommonPrefixes?.map((entry) => entry.Prefix) ?? []]
}
const restList = async (prefix: string) => {
  const response = await server.request('POST', `/storage/v1/object/list/${Bucket}`, { body: { prefix } })
  return ((await response.json()) as { name: string }[]).map(({ name }) => name)
}

describe('a key that ends with a slash', () => {
  it('is a folder: made, looked at, listed, copied and deleted', async () => {
    const { ETag } = await put('made/')
    expect(await head('made/')).toMatchObject({
      ContentLength: 0,
      ETag,
      ContentType: 'application/x-directory',
    })
    const { Body } = await server.s3.send(new GetObjectCommand({ Bucket, Key: 'made/' }))
    expect(await Body?.transformToString()).toBe('')
    await put('made/!before.png', 'x')
    await put('made/sub/')
    expect(await list('made/')).toEqual([['made/', 'made/!before.png', 'made/sub/'], []])
    expect(await list('made/', '/')).toEqual([['made/', 'made/!before.png'], ['made/sub/']])
    expect(await list('ma', '/')).toEqual([[], ['made/']])
    await server.s3.send(new CopyObjectCommand({ Bucket, Key: 'copied/', CopySource: `${Bucket}/made/` }))
    expect(await head('copied/')).toMatchObject({ ContentLength: 0, ETag })
    for (const Key of ['made/', 'copied/']) await server.s3.send(new DeleteObjectCommand({ Bucket, Key }))
    expect(await refusal(head('made/'))).toEqual([404, 'NotFound'])
    expect(await list('made/', '/')).toEqual([['made/!before.png'], ['made/sub/']])
    expect(await list('copied')).toEqual([[], []])
  })

  it('is the empty folder of a dashboard, and the other way round', async () => {
    await put('by-s3/')
    expect(await restList('by-s3')).toEqual([MARKER])
    expect(await restList('')).toContain('by-s3')
    const path = `/storage/v1/object/${Bucket}/by-rest/${MARKER}`
    expect((await server.request('POST', path, { body: '' })).ok).toBe(true)
    expect(await list('by-rest')).toEqual([['by-rest/'], []])
    expect(await head('by-rest/')).toMatchObject({ ContentLength: 0 })
    expect(await head(`by-rest/${MARKER}`)).toMatchObject({ ContentLength: 0 })
    await server.s3.send(new DeleteObjectCommand({ Bucket, Key: 'by-rest/' }))
    expect(await restList('by-rest')).toEqual([])
  })

  it('has no bytes', async () => {
    expect(await refusal(put('bytes/', 'x'))).toEqual([413, 'EntityTooLarge'])
    expect(await refusal(head('bytes/'))).toEqual([404, 'NotFound'])
  })

  it('is no file of that name', async () => {
    await put('file', 'x')
    expect(await refusal(head('file/'))).toEqual([404, 'NotFound'])
    expect(await list('file')).toEqual([['file'], []])
  })
})

describe('a key that is none here', () => {
  it.each([
    ['a/../b', 'no part between slashes may be . or .. here'],
    ['./a', 'no part between slashes may be . or .. here'],
    ['/a', 'a key does not begin with a slash here'],
    ['a\u0007b', 'a key has no control characters here'],
    ['ä'.repeat(513), 'a key has at most 1024 bytes here'],
    [`${'a'.repeat(1002)}/`, 'a key has at most 1024 bytes here'],
  ])('is refused with the rule: %j', async (key, rule) => {
    // In one segment: `fetch` would resolve dots away.
    const response = await server.send('PUT', `/${Bucket}/${encodeURIComponent(key)}`, {
      body: '',
      headers: { 'content-type': 'image/png' },
    })
    expect(await told(response)).toMatchObject({
      status: 400,
      code: 'InvalidArgument',
      message: expect.stringMatching(`^Invalid key: .*: ${rule}$`),
    })
  })

  it('is refused with the rule where only ASCII is one, and lists are the same', async () => {
    const client = server.client(server.keys3, { endpoint: `${compat.url}/storage/v1/s3` })
    const refused = client.send(
      new PutObjectCommand({ Bucket, Key: 'ü', Body: 'x', ContentType: 'image/png' }),
    )
    await expect(refused).rejects.toMatchObject({
      name: 'InvalidArgument',
      message: expect.stringContaining('only letters of a-z'),
    })
    await client.send(new PutObjectCommand({ Bucket, Key: 'compat/' }))
    const page = await client.send(new ListObjectsV2Command({ Bucket, Prefix: 'compat' }))
    expect(page.Contents?.map(({ Key }) => Key)).toEqual(['compat/'])
  })
})
