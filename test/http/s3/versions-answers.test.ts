import { randomUUID } from 'node:crypto'
import {
  DeleteObjectTaggingCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { withPolicies } from '../../support/policies.ts'
import { refusal } from '../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import type { Served } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/** What S3 clients are told of versions, by the words of the wire. */

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const NOBODYS = '00000000-0000-4000-8000-000000000000'

let server: S3TestServer
let second: Served
let Bucket: string
beforeAll(async () => {
  server = await startS3Server()
  second = await server.beside()
})
beforeEach(async () => {
  Bucket = `b-${randomUUID()}`
  await server.createBucket(Bucket, { versioning_status: 'ENABLED' })
})
afterAll(async () => {
  await second.close()
  await server.close()
})

const put = (Key: string, Body: string) => server.s3.send(new PutObjectCommand({ Bucket, Key, Body }))

/** The status, the code of an error, and what is said of a version. */
async function answer(
  method: string,
  target: string,
  init: Parameters<S3TestServer['send']>[2] = {},
): Promise<[status: number, code: string | undefined, headers: Record<string, string>]> {
  const response = await server.send(method, `/${Bucket}/${target}`, init)
  const [, code] = /<Code>(\w+)<\/Code>/.exec(await response.text()) ?? []
  const headers: Record<string, string> = {}
  for (const name of ['x-amz-version-id', 'x-amz-delete-marker', 'allow']) {
    const value = response.headers.get(name)
    if (value !== null) headers[name] = value
  }
  return [response.status, code, headers]
}

describe('the versions of a bucket', () => {
  const setting = (body: string, bucket = Bucket) => server.send('PUT', `/${bucket}?versioning`, { body })
  const xml = (inner: string) => `<VersioningConfiguration>${inner}</VersioningConfiguration>`
  const codeOf = async (response: Promise<Response>) => {
    const answered = await response
    return [answered.status, /<Code>(\w+)<\/Code>/.exec(await answered.text())?.[1]]
  }
  const status = async () =>
    (await server.s3.send(new GetBucketVersioningCommand({ Bucket }))).Status ?? 'never'

  it('are switched on, off and on again, and nothing is said of them before', async () => {
    Bucket = `b-${randomUUID()}`
    await server.createBucket(Bucket)
    const empty = await (await server.send('GET', `/${Bucket}?versioning`)).text()
    expect(empty).toMatch(/<VersioningConfiguration xmlns="[^"]+"\/>$/)
    expect(await codeOf(setting(xml('<Status>Suspended</Status>')))).toEqual([
      400,
      'IllegalVersioningConfigurationException',
    ])
    expect(await status()).toBe('never')
    for (const word of ['Enabled', 'Suspended', 'Suspended', 'Enabled']) {
      expect(await codeOf(setting(xml(`<Status>${word}</Status>`)))).toEqual([200, undefined])
      expect(await status()).toBe(word)
    }
  })

  it('are not switched by what is no such document', async () => {
    expect(await codeOf(setting(''))).toEqual([400, 'MalformedXML'])
    expect(await codeOf(setting(xml('<Status>On</Status>')))).toEqual([400, 'MalformedXML'])
    expect(await codeOf(setting(xml('')))).toEqual([400, 'IllegalVersioningConfigurationException'])
    const mfa = xml('<Status>Suspended</Status><MfaDelete>Enabled</MfaDelete>')
    expect(await codeOf(setting(mfa))).toEqual([501, 'NotImplemented'])
    expect(await status()).toBe('Enabled')
  })

  it('are nothing to who may not see the bucket, or change it', async () => {
    const stranger = server.client(await server.session(randomUUID()))
    expect(await refusal(stranger.send(new GetBucketVersioningCommand({ Bucket })))).toEqual([
      404,
      'NoSuchBucket',
    ])
    const body = xml('<Status>Suspended</Status>')
    const signing = await server.session(randomUUID())
    expect(await codeOf(server.send('PUT', `/${Bucket}?versioning`, { body, signing }))).toEqual([
      404,
      'NoSuchBucket',
    ])
    expect(await codeOf(setting(body, 'absent'))).toEqual([404, 'NoSuchBucket'])
  })

  it('cannot be suspended where they can be locked', async () => {
    await server.admin`update storage.buckets set object_lock = true where id = ${Bucket}`
    expect(await codeOf(setting(xml('<Status>Suspended</Status>')))).toEqual([409, 'InvalidBucketState'])
  })

  it('are told of objects that were in memory before, on all servers', async () => {
    Bucket = `b-${randomUUID()}`
    await server.createBucket(Bucket, { public: true })
    await put('a', 'text')
    const there = server.client(server.keys3, { endpoint: `${second.url}/storage/v1/s3` })
    const versionAt = async (client: typeof there) =>
      (await client.send(new GetObjectCommand({ Bucket, Key: 'a' }))).VersionId
    for (let n = 0; n < 3; n++) {
      expect([await versionAt(server.s3), await versionAt(there)]).toEqual([undefined, undefined])
    }
    await setting(xml('<Status>Enabled</Status>'))
    expect(await versionAt(server.s3)).toBe('null')
    await until(async () => (await versionAt(there)) === 'null', 'the other server tells of it')
  })
})

describe('a delete marker', () => {
  it('is told of where its key is asked for, and cannot be read itself', async () => {
    const { VersionId: one } = await put('a', 'one')
    const [, , made] = await answer('DELETE', 'a')
    const marker = made?.['x-amz-version-id']
    expect(made).toEqual({ 'x-amz-delete-marker': 'true', 'x-amz-version-id': expect.stringMatching(UUID) })
    expect(marker).not.toBe(one)
    for (const target of ['a', 'a?tagging', 'a?acl']) {
      expect([target, await answer('GET', target)]).toEqual([target, [404, 'NoSuchKey', made]])
    }
    expect(await answer('HEAD', 'a')).toEqual([404, undefined, made])
    const refused = { ...made, allow: 'DELETE' }
    expect(await answer('GET', `a?versionId=${marker}`)).toEqual([405, 'MethodNotAllowed', refused])
    expect(await answer('HEAD', `a?versionId=${marker}`)).toEqual([405, undefined, refused])
    // One over another is the same one.
    expect(await answer('DELETE', 'a')).toEqual([204, undefined, made])
    expect(await answer('GET', `a?versionId=${one}`)).toEqual([200, undefined, { 'x-amz-version-id': one }])
  })

  it('is nothing to who might not see what it hides, and the owner sees it, whoever has deleted', async () => {
    const owner = randomUUID()
    const read = `create policy ours on storage.objects for all to authenticated
      using (owner_id = auth.uid()::text) with check (owner_id = auth.uid()::text)`
    await withPolicies(server.admin, read, async () => {
      const theirs = server.client(await server.session(owner))
      await theirs.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'theirs' }))
      await answer('DELETE', 'a')
      const list = async (client: typeof theirs) => {
        const { Versions = [], DeleteMarkers = [] } = await client.send(
          new ListObjectVersionsCommand({ Bucket }),
        )
        return [Versions.length, DeleteMarkers.length]
      }
      expect(await list(theirs)).toEqual([1, 1])
      const stranger = await server.session(randomUUID())
      expect(await list(server.client(stranger))).toEqual([0, 0])
      expect(await answer('GET', 'a', { signing: stranger })).toEqual([404, 'NoSuchKey', {}])
      const [status, , told] = await answer('GET', 'a', { signing: await server.session(owner) })
      expect([status, told]).toEqual([404, expect.objectContaining({ 'x-amz-delete-marker': 'true' })])
    })
  })
})

describe('an id of a version', () => {
  it('that there is not is told from one that can be none', async () => {
    await put('a', 'one')
    for (const method of ['GET', 'HEAD']) {
      const code = (name: string) => (method === 'HEAD' ? undefined : name)
      expect(await answer(method, `a?versionId=${NOBODYS}`)).toEqual([404, code('NoSuchVersion'), {}])
      expect(await answer(method, 'a?versionId=null')).toEqual([404, code('NoSuchVersion'), {}])
      for (const id of ['', 'garbage', NOBODYS.toUpperCase().replace('8', 'B'), '%23abc']) {
        expect(await answer(method, `a?versionId=${id}`)).toEqual([400, code('InvalidArgument'), {}])
      }
    }
    expect(await answer('DELETE', `a?versionId=${NOBODYS}`)).toEqual([
      204,
      undefined,
      { 'x-amz-version-id': NOBODYS },
    ])
    expect(await answer('DELETE', 'a?versionId=garbage')).toEqual([400, 'InvalidArgument', {}])
    const source = { headers: { 'x-amz-copy-source': `/${Bucket}/a?versionId=${NOBODYS}` } }
    expect(await answer('PUT', 'b', source)).toEqual([404, 'NoSuchVersion', {}])
    const garbage = { headers: { 'x-amz-copy-source': `/${Bucket}/a?versionId=garbage` } }
    expect(await answer('PUT', 'b', garbage)).toEqual([400, 'InvalidArgument', {}])
    // What makes a version is about none.
    expect(await answer('PUT', `a?versionId=${NOBODYS}`, { body: 'x' })).toEqual([400, 'InvalidArgument', {}])
  })

  it('is in what was signed', async () => {
    const { VersionId } = await put('a', 'one')
    const { VersionId: other } = await put('a', 'two')
    const url = await getSignedUrl(server.s3, new GetObjectCommand({ Bucket, Key: 'a', VersionId }), {
      expiresIn: 60,
    })
    expect(await (await fetch(url)).text()).toBe('one')
    expect((await fetch(url.replace(VersionId ?? '', other ?? ''))).status).toBe(403)
  })
})

describe('tags of a version', () => {
  it('are read, and set as long as it is the one that is there', async () => {
    const tag = (value: string) => ({ TagSet: [{ Key: 'k', Value: value }] })
    const tagged = (VersionId: string | undefined, value: string) =>
      server.s3.send(new PutObjectTaggingCommand({ Bucket, Key: 'a', VersionId, Tagging: tag(value) }))
    const tagsOf = async (VersionId: string | undefined) => {
      const answered = await server.s3.send(new GetObjectTaggingCommand({ Bucket, Key: 'a', VersionId }))
      return [answered.VersionId, answered.TagSet?.map(({ Value }) => Value)]
    }
    const one = await put('a', 'one')
    expect((await tagged(one.VersionId, 'first')).VersionId).toBe(one.VersionId)
    const two = await put('a', 'two')
    expect((await tagged(undefined, 'second')).VersionId).toBe(two.VersionId)
    expect(await tagsOf(one.VersionId)).toEqual([one.VersionId, ['first']])
    expect(await tagsOf(undefined)).toEqual([two.VersionId, ['second']])
    expect(await refusal(tagged(one.VersionId, 'third'))).toEqual([501, 'NotImplemented'])
    expect(await refusal(tagged(NOBODYS, 'third'))).toEqual([404, 'NoSuchVersion'])
    const untag = { Bucket, Key: 'a', VersionId: two.VersionId }
    expect((await server.s3.send(new DeleteObjectTaggingCommand(untag))).VersionId).toBe(two.VersionId)
    expect([await tagsOf(one.VersionId), await tagsOf(two.VersionId)]).toEqual([
      [one.VersionId, ['first']],
      [two.VersionId, []],
    ])
  })
})

describe('an upload by REST over a marker', () => {
  it.each([5, 20_000, 300_000])('of %i bytes answers the id of the name, which stays', async (size) => {
    const upload = async (upsert: string) => {
      const answered = await server.request('POST', `/storage/v1/object/${Bucket}/a`, {
        body: 'x'.repeat(size),
        headers: { 'x-upsert': upsert },
      })
      return JSON.parse(await answered.text()).Id
    }
    const id = await upload('false')
    for (const upsert of ['false', 'true']) {
      await answer('DELETE', 'a')
      expect(await upload(upsert)).toBe(id)
    }
  })
})
