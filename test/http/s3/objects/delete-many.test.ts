import { createHash, randomUUID } from 'node:crypto'
import {
  DeleteObjectsCommand,
  type DeleteObjectsCommandInput,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { withPolicies } from '../../../support/policies.ts'
import { refusal } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import { UNSIGNED } from '../../../support/s3-signer.ts'
import type { Served } from '../../../support/server.ts'

let server: S3TestServer
let compat: Served
beforeAll(async () => {
  server = await startS3Server()
  compat = await server.beside({ STORAGE_COMPAT: 'supabase' })
})
afterAll(async () => {
  await compat.close()
  await server.close()
})

async function bucketOf(keys: string[]): Promise<string> {
  const bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  await server.admin`
    insert into storage.objects (bucket_id, name) select ${bucket}, unnest(${keys}::text[])`
  return bucket
}

const remove = (
  Bucket: string,
  Objects: NonNullable<DeleteObjectsCommandInput['Delete']>['Objects'],
  { client = server.s3, ...more }: { client?: typeof server.s3; Quiet?: boolean } = {},
) => client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects, ...more } }))

async function left(Bucket: string): Promise<(string | undefined)[]> {
  const { Contents = [] } = await server.s3.send(new ListObjectsV2Command({ Bucket }))
  return Contents.map(({ Key }) => Key)
}

describe('many objects deleted by S3', () => {
  it('are gone, a thousand at once, and those that were not there as well', async () => {
    const keys = Array.from({ length: 999 }, (_, n) => `${n}`)
    const bucket = await bucketOf([...keys, 'kept'])
    const wanted = [...keys, 'absent'].map((Key) => ({ Key }))
    const { Deleted, Errors } = await remove(bucket, wanted)
    expect([Deleted, Errors]).toEqual([wanted, undefined])
    expect(await left(bucket)).toEqual(['kept'])
    expect(await refusal(remove(bucket, [...wanted, { Key: 'kept' }]))).toEqual([400, 'MalformedXML'])
    expect(await refusal(remove(bucket, []))).toEqual([400, 'MalformedXML'])
    expect(await left(bucket)).toEqual(['kept'])
  })

  it('are told of only where something went wrong, for who wants it quiet', async () => {
    const bucket = await bucketOf(['a', 'b'])
    const { Deleted, Errors } = await remove(bucket, [{ Key: 'a' }, { Key: 'b', VersionId: 'v1' }], {
      Quiet: true,
    })
    expect([Deleted, Errors]).toEqual([
      undefined,
      [{ Key: 'b', VersionId: 'v1', Code: 'InvalidArgument', Message: 'Invalid version id specified' }],
    ])
    expect(await left(bucket)).toEqual(['b'])
  })

  it('are those whose keys are written, to the last blank', async () => {
    const keys = [' ', '0', 'true', ' a ', 'a&b<c>"d"', 'é', '\u{1f600}', 'a%20b', 'a+b', '1e3']
    const bucket = await bucketOf([...keys, 'a', '1000', '%20', 'a b'])
    const { Deleted } = await remove(
      bucket,
      [...keys, ...keys].map((Key) => ({ Key })),
    )
    expect(Deleted?.map(({ Key }) => Key)).toEqual([...keys, ...keys])
    expect(await left(bucket)).toEqual(['%20', '1000', 'a', 'a b'])
  })

  it('are folders too', async () => {
    const bucket = await bucketOf(['dir/.emptyFolderPlaceholder', 'dir/a'])
    expect((await remove(bucket, [{ Key: 'dir/' }])).Deleted).toEqual([{ Key: 'dir/' }])
    expect(await left(bucket)).toEqual(['dir/a'])
  })

  it('may each have a condition', async () => {
    const bucket = await bucketOf(['other'])
    const put = (Key: string) => server.s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: Key }))
    const { ETag } = await put('a')
    await put('b')
    const { Deleted, Errors } = await remove(bucket, [
      { Key: 'a', ETag },
      { Key: 'b', ETag },
      { Key: 'absent', ETag },
      { Key: 'other', Size: 5 },
    ])
    expect(Deleted?.map(({ Key }) => Key)).toEqual(['a', 'absent'])
    expect(Errors?.map(({ Key, Code }) => [Key, Code])).toEqual([
      ['b', 'PreconditionFailed'],
      ['other', 'NotImplemented'],
    ])
    expect(await left(bucket)).toEqual(['b', 'other'])
  })

  it('are kept where policies keep them; what a user may not see is as good as absent', async () => {
    const keys = ['mine', 'seen', 'hidden']
    const bucket = await bucketOf(keys)
    const session = await server.session('somebody')
    const policy = `
      create policy "see" on storage.objects for select to authenticated
        using (bucket_id = '${bucket}' and name <> 'hidden');
      create policy "delete" on storage.objects for delete to authenticated
        using (bucket_id = '${bucket}' and name = 'mine' and storage.operation() = 'storage.s3.object.delete_many')`
    const wanted = [...keys, 'absent'].map((Key) => ({ Key }))
    await withPolicies(server.admin, policy, async () => {
      const { Deleted, Errors } = await remove(bucket, wanted, { client: server.client(session) })
      expect(Deleted?.map(({ Key }) => Key)).toEqual(['mine', 'hidden', 'absent'])
      expect(Errors?.map(({ Key, Code }) => [Key, Code])).toEqual([['seen', 'AccessDenied']])
      expect(await left(bucket)).toEqual(['hidden', 'seen'])

      // Where it is told that an object is there, it is told here, too.
      const endpoint = `${compat.url}/storage/v1/s3`
      const told = await remove(bucket, wanted, { client: server.client(session, { endpoint }) })
      expect(told.Errors?.map(({ Key, Code }) => [Key, Code])).toEqual([
        ['seen', 'AccessDenied'],
        ['hidden', 'AccessDenied'],
      ])
    })
  })

  it('go though a trigger keeps one of them', async () => {
    const bucket = await bucketOf(['a', 'b', 'c'])
    const name = `keep_${bucket.replaceAll('-', '_')}`
    await server.admin.unsafe(`
      create function public.${name}() returns trigger language plpgsql as $$ begin
        if old.bucket_id = '${bucket}' and old.name = 'b' then raise exception 'not b'; end if;
        return old;
      end $$;
      create trigger ${name} before delete on storage.objects for each row execute function public.${name}()`)
    try {
      const { Deleted, Errors } = await remove(bucket, [{ Key: 'a' }, { Key: 'b' }, { Key: 'c' }])
      expect(Deleted?.map(({ Key }) => Key)).toEqual(['a', 'c'])
      expect(Errors).toEqual([
        { Key: 'b', Code: 'InvalidRequest', Message: expect.stringContaining('not b') },
      ])
      expect(await left(bucket)).toEqual(['b'])
    } finally {
      await server.admin.unsafe(`drop function public.${name} cascade`)
    }
  })

  it('are those of a bucket', async () => {
    expect(await refusal(remove('absent', [{ Key: 'a' }]))).toEqual([404, 'NoSuchBucket'])
  })

  const BODY = '<Delete><Object><Key>a</Key></Object></Delete>'
  const md5 = (text: string) => createHash('md5').update(text).digest('base64')
  it.each([
    ['with its MD5', BODY, { 'content-md5': md5(BODY) }, 200, 'Deleted'],
    [
      'with a namespace',
      BODY.replace('<Delete>', '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'),
      undefined,
      200,
      'Deleted',
    ],
    ['with another MD5', BODY, { 'content-md5': md5('x') }, 400, 'BadDigest'],
    ['with another checksum', BODY, { 'x-amz-checksum-crc32': 'AAAAAA==' }, 400, 'BadDigest'],
    ['without any digest', BODY, {}, 400, 'InvalidRequest'],
    ['with a DOCTYPE', `<!DOCTYPE x>${BODY}`, undefined, 400, 'MalformedXML'],
    ['without a key', '<Delete><Object><Key/></Object></Delete>', undefined, 400, 'MalformedXML'],
    ['of another root', '<Remove/>', undefined, 400, 'MalformedXML'],
    [
      'of 2 MiB and more',
      `<Delete>${' '.repeat(2 * 1024 * 1024)}</Delete>`,
      undefined,
      413,
      'EntityTooLarge',
    ],
  ])('are named in a body %s', async (_, body, headers, status, word) => {
    const bucket = await bucketOf(['a'])
    const response = await server.send('POST', `/${bucket}?delete`, {
      body,
      // Unsigned where the digest is what is to be looked at.
      ...(headers && { headers, payload: UNSIGNED }),
    })
    expect([response.status, await response.text()]).toEqual([status, expect.stringContaining(word)])
    expect(await left(bucket)).toEqual(status === 200 ? [] : ['a'])
  })
})
