import { randomUUID } from 'node:crypto'
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { withPolicies } from '../../support/policies.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'

/** What policies let a caller do is the same by S3 and by REST, however he signs. */

const ANN = randomUUID()
const BOB = randomUUID()
const BUCKETS = ['private', 'anns', 'signed-in', 'open', 'by-claim']

let server: S3TestServer
const callers: Record<string, { token: string; client: S3Client }> = {}

beforeAll(async () => {
  server = await startS3Server()
  const [ann, bob] = [await server.token(ANN), await server.token(BOB)]
  for (const [bucket, settings] of [
    ['private', {}],
    ['anns', {}],
    ['signed-in', { policy: 'authenticated' }],
    ['open', { public: true }],
    ['by-claim', {}],
  ] as const) {
    await server.createBucket(bucket, settings)
  }
  await server.admin`update storage.buckets set owner_id = ${ANN}, owner = ${ANN} where id = 'anns'`
  callers.service = { token: server.keys.serviceKey, client: server.s3 }
  callers['ann by a session'] = { token: ann, client: server.client(await server.session(ANN)) }
  callers['bob by a session'] = { token: bob, client: server.client(await server.session(BOB)) }
  callers['bob by a pair of his own'] = { token: bob, client: server.client(await pairOf(BOB)) }
  callers['nobody by a session'] = {
    token: server.keys.anonKey,
    client: server.client({
      accessKeyId: 'any',
      secretAccessKey: server.keys.anonKey,
      sessionToken: server.keys.anonKey,
    }),
  }
})
afterAll(() => server.close())

async function pairOf(subject: string) {
  const response = await server.request('POST', '/storage/v1/credential', {
    body: { role: 'authenticated', subject },
  })
  const { access_key_id: accessKeyId, secret_access_key: secretAccessKey } =
    (await response.json()) as Record<string, string>
  return { accessKeyId: `${accessKeyId}`, secretAccessKey: `${secretAccessKey}` }
}

const BY_CLAIM = `
  create policy "read by subject" on storage.objects for select to authenticated
    using (bucket_id = 'by-claim' and name like auth.jwt() ->> 'sub' || '/%');
  create policy "write by subject" on storage.objects for insert to authenticated
    with check (bucket_id = 'by-claim' and name like auth.jwt() ->> 'sub' || '/%')`

/** Whether it was allowed: what is absent and what is denied is told in two ways. */
const isDone = (asking: Promise<unknown>) =>
  asking.then(
    () => true,
    (error: unknown) => {
      if (error instanceof S3ServiceException && error.$fault === 'client') return false
      throw error
    },
  )

describe.each([
  'service',
  'ann by a session',
  'bob by a session',
  'bob by a pair of his own',
  'nobody by a session',
])('%s', (who) => {
  it('may do by S3 what REST lets him, and no more', async () => {
    const { token, client } = callers[who] ?? { token: '', client: server.s3 }
    const rest = (method: string, path: string, body?: string | object) =>
      server.request(method, `/storage/v1${path}`, { token, body: body ?? null })
    await withPolicies(server.admin, BY_CLAIM, async () => {
      const shown = (await (await rest('GET', '/bucket')).json()) as { id: string }[]
      const { Buckets = [] } = await client.send(new ListBucketsCommand())
      expect(Buckets.map(({ Name }) => Name)).toEqual(shown.map(({ id }) => id).sort())

      for (const Bucket of BUCKETS) {
        const names = [`${ANN}/a`, `${BOB}/b`, 'c']
        await server.admin`delete from storage.objects where bucket_id = ${Bucket}`
        await server.admin`insert into storage.objects (bucket_id, name, owner_id, metadata)
            select ${Bucket}, unnest(${names}::text[]), ${BOB}, '{"size": 0}'`
        const found = [(await rest('GET', `/bucket/${Bucket}`)).ok]
        const foundByS3 = [await isDone(client.send(new HeadBucketCommand({ Bucket })))]
        expect([Bucket, foundByS3]).toEqual([Bucket, found])

        const list = (await (await rest('POST', `/object/list-v2/${Bucket}`, {})).json()) as {
          objects: { name: string }[]
        }
        const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }))
        expect([Bucket, Contents.map(({ Key }) => Key)]).toEqual([
          Bucket,
          list.objects.map(({ name }) => name),
        ])

        for (const Key of names) {
          const info = (await rest('GET', `/object/info/authenticated/${Bucket}/${Key}`)).ok
          expect([
            Bucket,
            Key,
            await isDone(client.send(new GetObjectTaggingCommand({ Bucket, Key }))),
          ]).toEqual([Bucket, Key, info])
        }

        for (const place of [ANN, BOB]) {
          const stored = (await rest('POST', `/object/${Bucket}/${place}/rest`, 'x')).ok
          // Only what makes an object: an upsert needs more rights.
          const put = new PutObjectCommand({ Bucket, Key: `${place}/s3`, Body: 'x', IfNoneMatch: '*' })
          expect([Bucket, place, await isDone(client.send(put))]).toEqual([Bucket, place, stored])
          const read = (await rest('GET', `/object/authenticated/${Bucket}/${place}/rest`)).ok
          const get = new GetObjectCommand({ Bucket, Key: `${place}/s3` })
          expect([Bucket, place, await isDone(client.send(get))]).toEqual([Bucket, place, read])
        }

        const left = async () => {
          const rows = await server.admin`
              select name from storage.objects where bucket_id = ${Bucket} and name = any (${names}) order by name`
          return rows.map(({ name }) => name as string)
        }
        await rest('DELETE', `/object/${Bucket}`, { prefixes: names })
        const byRest = await left()
        await server.admin`insert into storage.objects (bucket_id, name, owner_id)
            select ${Bucket}, unnest(${names}::text[]), ${BOB} on conflict do nothing`
        const Delete = { Objects: names.map((Key) => ({ Key })) }
        const { Errors = [] } = await client.send(new DeleteObjectsCommand({ Bucket, Delete }))
        expect([Bucket, await left()]).toEqual([Bucket, byRest])
        // What is kept is told to who sees it, and of nothing else.
        const kept = byRest.filter((name) => list.objects.some((object) => object.name === name))
        expect([Bucket, Errors.map(({ Key }) => Key).sort()]).toEqual([Bucket, kept])
      }
    })
  })
})
