import { randomUUID } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  ListPartsCommand,
  PutObjectCommand,
  RenameObjectCommand,
  type S3Client,
  S3ServiceException,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { dropPolicies } from '../../../support/policies.ts'
import { refusal } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import { expectNoDrift } from '../../../support/traces.ts'

/** What a user's session may do with two objects at once, under policies that allow him some of it. */

const USER = randomUUID()
const NAMES = ['mine/a', 'mine/b', 'mine/kept', 'mine/unseen', 'shared/a', 'hidden/a']

let server: S3TestServer
let user: S3Client
let token: string
let Bucket: string
beforeAll(async () => {
  server = await startS3Server()
  user = server.client(await server.session(USER))
  token = await server.token(USER)
  await server.admin.unsafe(`
    create policy "sees" on storage.objects for select to authenticated
      using (name like 'shared/%' or (name like 'mine/%' and name <> 'mine/unseen'));
    create policy "makes" on storage.objects for insert to authenticated with check (name like 'mine/%');
    create policy "changes" on storage.objects for update to authenticated using (name like 'mine/%');
    create policy "deletes" on storage.objects for delete to authenticated
      using (name like 'mine/%' and name <> 'mine/kept')`)
})
beforeEach(async () => {
  Bucket = `b-${randomUUID()}`
  await server.createBucket(Bucket)
  for (const Key of NAMES) await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }))
})
afterAll(async () => {
  await dropPolicies(server.admin)
  await expectNoDrift(server)
  await server.close()
})

/** Every name with what its object was put as, as the service sees them. */
async function found(): Promise<Record<string, string>> {
  const rows = await server.admin`select name from storage.objects where bucket_id = ${Bucket} order by name`
  const texts = await Promise.all(
    rows.map(async ({ name }) => {
      const { Body } = await server.s3.send(new GetObjectCommand({ Bucket, Key: name }))
      return [name, await Body?.transformToString()]
    }),
  )
  return Object.fromEntries(texts)
}

const UNTOUCHED = Object.fromEntries(NAMES.map((name) => [name, name]))

const copy = (from: string, Key: string) =>
  user.send(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/${from}` }))
const rename = (from: string, Key: string, more = {}) =>
  user.send(new RenameObjectCommand({ Bucket, Key, RenameSource: from, ...more }))

type Refusal = [from: string, to: string, status: number, code: string]

describe.each<[verb: 'copy' | 'move', byS3: typeof copy, refusals: Refusal[]]>([
  [
    'copy',
    copy,
    [
      ['hidden/a', 'mine/new', 404, 'NoSuchKey'],
      ['mine/a', 'shared/new', 403, 'AccessDenied'],
      ['mine/a', 'hidden/new', 403, 'AccessDenied'],
    ],
  ],
  [
    'move',
    rename,
    [
      ['hidden/a', 'mine/new', 404, 'NoSuchKey'],
      ['shared/a', 'mine/new', 403, 'AccessDenied'],
      ['mine/a', 'shared/new', 403, 'AccessDenied'],
    ],
  ],
])('a %s', (verb, byS3, refusals) => {
  it.each(refusals)('of %s to %s is refused as by REST', async (from, to, status, code) => {
    const body = { bucketId: Bucket, sourceKey: from, destinationKey: to }
    const byRest = await server.request('POST', `/storage/v1/object/${verb}`, { token, body })
    expect(byRest.status).toBe(status)
    expect(await refusal(byS3(from, to))).toEqual([status, code])
    expect(await found()).toEqual(UNTOUCHED)
  })

  it.each(['shared/a', 'hidden/a', 'mine/unseen'])('over %s is denied', async (to) => {
    expect(await refusal(byS3('mine/a', to))).toEqual([403, 'AccessDenied'])
    expect(await found()).toEqual(UNTOUCHED)
  })

  it('over what the user may replace is done', async () => {
    await byS3('mine/a', 'mine/b')
    const { 'mine/a': _moved, ...others } = UNTOUCHED
    const left = verb === 'copy' ? UNTOUCHED : others
    expect(await found()).toEqual({ ...left, 'mine/b': 'mine/a' })
  })
})

describe('a new name', () => {
  it('of what the user may not delete is denied', async () => {
    expect(await refusal(rename('mine/a', 'mine/kept'))).toEqual([403, 'AccessDenied'])
    expect(await found()).toEqual(UNTOUCHED)
  })

  describe.each([4, 12])('that %i want at once', (many) => {
    const wanted = Array.from({ length: many }, (_, n) => `mine/wanted-${n}`)
    beforeEach(async () => {
      for (const Key of wanted) await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }))
    })
    const race = (more = {}) =>
      Promise.all(
        wanted.map((from) =>
          rename(from, 'mine/new', more).then(({ $metadata }) => $metadata.httpStatusCode, statusOf),
        ),
      )

    it('is got by one of them, if they only want it while it is free, and the others lose nothing', async () => {
      const outcomes = await race({ DestinationIfNoneMatch: '*' })
      expect(outcomes.filter((status) => status !== 412)).toEqual([200])
      const winner = wanted[outcomes.indexOf(200)] ?? ''
      const losers = wanted.filter((name) => name !== winner).map((name) => [name, name])
      expect(await found()).toEqual({ ...UNTOUCHED, ...Object.fromEntries(losers), 'mine/new': winner })
    })

    it('is that of one who got it, and who was refused has lost nothing', async () => {
      const outcomes = await race()
      const names = await found()
      const moved = wanted.filter((_, n) => outcomes[n] === 200)
      expect(moved).toContain(names['mine/new'])
      expect(wanted.filter((name) => names[name] !== name)).toEqual(moved)
      expect(outcomes.filter((status) => status !== 200 && status !== 409)).toEqual([])
    })
  })

  it('of one another’s is given to one after the other, and neither waits in vain', async () => {
    for (let round = 0; round < 10; round++) {
      for (const Key of ['mine/a', 'mine/b']) {
        await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }))
      }
      const outcomes = await Promise.all(
        [rename('mine/a', 'mine/b'), rename('mine/b', 'mine/a')].map((renaming) =>
          renaming.then(({ $metadata }) => $metadata.httpStatusCode, statusOf),
        ),
      )
      // Whoever comes second moves the object back, or no longer sees the one that it was about.
      const { 'mine/a': a, 'mine/b': b } = await found()
      expect([a === undefined, b === undefined].filter(Boolean)).toHaveLength(1)
      expect(outcomes).toContain(200)
      expect(outcomes.filter((status) => ![200, 404].includes(status ?? 0))).toEqual([])
    }
  })
})

function statusOf(error: unknown): number | undefined {
  if (error instanceof S3ServiceException) return error.$metadata.httpStatusCode
  throw error
}

it('what is hidden has no attributes, and is not deleted', async () => {
  const ObjectAttributes = ['ObjectSize' as const]
  const ask = (Key: string) => user.send(new GetObjectAttributesCommand({ Bucket, Key, ObjectAttributes }))
  expect(await refusal(ask('hidden/a'))).toEqual([404, 'NoSuchKey'])
  expect((await ask('shared/a')).ObjectSize).toBe('shared/a'.length)
  const remove = (Key: string) => user.send(new DeleteObjectCommand({ Bucket, Key }))
  expect((await remove('hidden/a')).$metadata.httpStatusCode).toBe(204)
  expect(await refusal(remove('shared/a'))).toEqual([403, 'AccessDenied'])
  expect(await refusal(remove('mine/kept'))).toEqual([403, 'AccessDenied'])
  expect(await found()).toEqual(UNTOUCHED)
})

it('a part is copied of what the user sees, and into what he has begun', async () => {
  const begin = async (client: S3Client) => {
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key: 'mine/parts' }))
    return { Bucket, Key: 'mine/parts', UploadId }
  }
  const [place, ofService] = [await begin(user), await begin(server.s3)]
  const copyPart = (from: string, to = place) => {
    const CopySource = `${Bucket}/${from}`
    return user.send(new UploadPartCopyCommand({ ...to, PartNumber: 1, CopySource }))
  }
  expect(await refusal(copyPart('hidden/a'))).toEqual([404, 'NoSuchKey'])
  expect(await refusal(copyPart('mine/unseen'))).toEqual([404, 'NoSuchKey'])
  expect(await refusal(copyPart('shared/a', ofService))).toEqual([403, 'AccessDenied'])
  for (const at of [place, ofService]) {
    expect((await server.s3.send(new ListPartsCommand(at))).Parts ?? []).toEqual([])
  }
  await copyPart('shared/a')
  expect((await user.send(new ListPartsCommand(place))).Parts).toMatchObject([{ Size: 'shared/a'.length }])
  for (const at of [place, ofService]) await server.s3.send(new AbortMultipartUploadCommand(at))
})
