import {
  DeleteObjectTaggingCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { withPolicies } from '../../../support/policies.ts'
import { refusal } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'

const Bucket = 'tagged'
let server: S3TestServer
beforeAll(async () => {
  server = await startS3Server()
  await server.createBucket(Bucket)
})
afterAll(() => server.close())

const put = (Key: string, Tagging?: string, client = server.s3) =>
  client.send(new PutObjectCommand({ Bucket, Key, Body: 'x', Tagging }))
const tagsOf = async (Key: string, client = server.s3) =>
  (await client.send(new GetObjectTaggingCommand({ Bucket, Key }))).TagSet
const tag = (Key: string, pairs: Record<string, string>, client = server.s3) => {
  const TagSet = Object.entries(pairs).map(([key, Value]) => ({ Key: key, Value }))
  return client.send(new PutObjectTaggingCommand({ Bucket, Key, Tagging: { TagSet } }))
}
const countOf = async (Key: string) => (await server.s3.send(new HeadObjectCommand({ Bucket, Key }))).TagCount

describe('tags by S3', () => {
  it('are set, told and taken away, and the object stays the same', async () => {
    const { ETag } = await put('a')
    expect([await tagsOf('a'), await countOf('a')]).toEqual([[], undefined])
    await tag('a', { project: 'a=b c', urgent: '', größe: '5 m' })
    expect(await tagsOf('a')).toEqual([
      { Key: 'project', Value: 'a=b c' },
      { Key: 'urgent', Value: '' },
      { Key: 'größe', Value: '5 m' },
    ])
    expect(await countOf('a')).toBe(3)
    await tag('a', { other: '1' })
    expect(await tagsOf('a')).toEqual([{ Key: 'other', Value: '1' }])
    await server.s3.send(new DeleteObjectTaggingCommand({ Bucket, Key: 'a' }))
    expect([await tagsOf('a'), await countOf('a')]).toEqual([[], undefined])
    expect((await server.s3.send(new HeadObjectCommand({ Bucket, Key: 'a' }))).ETag).toBe(ETag)
  })

  it('come with an upload, and go with the next one', async () => {
    await put('b', 'project=apollo%20%2B&urgent=')
    expect(await tagsOf('b')).toEqual([
      { Key: 'project', Value: 'apollo +' },
      { Key: 'urgent', Value: '' },
    ])
    await put('b')
    expect(await tagsOf('b')).toEqual([])
  })

  it('are refused, with nothing changed, when they are none of S3’s', async () => {
    await put('c', 'kept=1')
    const eleven = Object.fromEntries(Array.from({ length: 11 }, (_, n) => [`k${n}`, '']))
    for (const pairs of [eleven, { 'a=b': 'c' }, { 'aws:x': '' }, { 'k*': '' }, { k: 'v'.repeat(257) }]) {
      expect(await refusal(tag('c', pairs))).toEqual([400, 'InvalidTag'])
    }
    expect(await refusal(put('c', 'k*=1'))).toEqual([400, 'InvalidTag'])
    const twice =
      '<Tagging><TagSet><Tag><Key>a</Key><Value/></Tag><Tag><Key>a</Key><Value/></Tag></TagSet></Tagging>'
    const keyless = '<Tagging><TagSet><Tag><Value/></Tag></TagSet></Tagging>'
    for (const [body, code] of [
      [twice, 'InvalidTag'],
      [keyless, 'MalformedXML'],
      ['<Tagging/>', 'MalformedXML'],
    ] as const) {
      const response = await server.send('PUT', `/${Bucket}/c?tagging`, { body })
      expect([response.status, await response.text()]).toEqual([
        400,
        expect.stringContaining(`<Code>${code}</Code>`),
      ])
    }
    expect(await tagsOf('c')).toEqual([{ Key: 'kept', Value: '1' }])
  })

  it('are those of an object that is there', async () => {
    expect(await refusal(tagsOf('absent'))).toEqual([404, 'NoSuchKey'])
    expect(await refusal(tag('absent', { a: '' }))).toEqual([404, 'NoSuchKey'])
    const gone = server.s3.send(new GetObjectTaggingCommand({ Bucket: 'no-bucket', Key: 'a' }))
    expect(await refusal(gone)).toEqual([404, 'NoSuchBucket'])
  })

  it('are for policies to judge', async () => {
    for (const key of ['mine', 'seen', 'hidden']) await put(key, 'by=service')
    const client = server.client(await server.session('somebody'))
    const policy = `
      create policy "see" on storage.objects for select to authenticated using (name <> 'hidden');
      create policy "change" on storage.objects for update to authenticated using (name = 'mine')
        with check (not 'secret' = any (tags) and storage.operation() like 'storage.s3.object.%_tagging');
      create policy "make" on storage.objects for insert to authenticated with check ('new' = any (tags))`
    await withPolicies(server.admin, policy, async () => {
      await tag('mine', { by: 'somebody' }, client)
      expect(await tagsOf('mine', client)).toEqual([{ Key: 'by', Value: 'somebody' }])
      expect(await refusal(tag('mine', { secret: '' }, client))).toEqual([403, 'AccessDenied'])
      expect(await refusal(tag('seen', { by: 'somebody' }, client))).toEqual([403, 'AccessDenied'])
      expect(await refusal(tag('hidden', { by: 'somebody' }, client))).toEqual([404, 'NoSuchKey'])
      expect(await refusal(tagsOf('hidden', client))).toEqual([404, 'NoSuchKey'])
      expect(await refusal(put('made', 'old=', client))).toEqual([403, 'AccessDenied'])
    })
    expect(await tagsOf('seen')).toEqual([{ Key: 'by', Value: 'service' }])
  })
})
