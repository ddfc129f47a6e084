import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { withPolicies } from '../../support/policies.ts'
import { type RequestOptions, startTestServer, type TestServer } from '../../support/server.ts'
import { VersionSteps } from '../../support/version-steps.ts'

/** `POST /versions/<bucket>/<path>`: another version, with what its writer says of it (docs/versions.md). */

let server: TestServer
let steps: VersionSteps
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
  steps = new VersionSteps(server)
})
beforeEach(async () => {
  bucket = await steps.newBucket()
})
afterAll(() => server.close())

const LARGE = 'x'.repeat(200_000)

const add = (name: string, init: RequestOptions, query = '') =>
  steps.ask('POST', `/versions/${bucket}/${name}${query}`, init)

/** What is said of the versions of a name, newest first. */
async function comments(name: string): Promise<unknown[]> {
  const { items } = await steps.json('GET', `/versions/${bucket}/${name}`)
  return (items as { comment: unknown }[]).map(({ comment }) => comment)
}

const saying = (comment: string) => ({ 'x-version-comment': comment })

describe('a version that is added', () => {
  it.each([
    ['small', 'two'],
    ['large', LARGE],
  ])('with %s bytes has what is said of it, and the next one has not', async (_, body) => {
    await steps.uploaded('a', 'one')
    const answer = await add('a', { body, headers: saying('after the meeting') })
    const added = await answer.json()
    const { version } = await steps.json('GET', `/object/info/${bucket}/a`)
    expect([answer.status, added]).toMatchObject([201, { path: 'a', size: body.length, version_id: version }])
    expect(await steps.now('a')).toBe(body)
    expect(await comments('a')).toEqual(['after the meeting', null])
    await steps.uploaded('a', 'three')
    expect(await comments('a')).toEqual([null, 'after the meeting', null])
    expect(await steps.history('a')).toEqual(['3', '2', '1'])
  })

  it.each([
    ['small', 'one'],
    ['large', LARGE],
  ])('with %s bytes may be the first one, also under a marker', async (_, body) => {
    expect((await add('a', { body, headers: saying('the beginning') })).status).toBe(201)
    expect(await comments('a')).toEqual(['the beginning'])
    await steps.ask('DELETE', `/object/${bucket}/a`)
    expect((await add('a', { body, headers: saying('again') })).status).toBe(201)
    expect(await comments('a')).toEqual(['again', null, 'the beginning'])
  })

  it('keeps what is said of it when it moves up again, and when it is moved', async () => {
    await add('a', { body: 'one', headers: saying('said') })
    const [second] = await steps.uploaded('a', 'two')
    await steps.json('DELETE', `/object/${bucket}/a?versionId=${second}`)
    expect(await comments('a')).toEqual(['said'])
    await steps.json('POST', '/object/move', {
      body: { bucketId: bucket, sourceKey: 'a', destinationKey: 'b' },
    })
    expect([await comments('a'), await comments('b')]).toEqual([[null, 'said'], ['said']])
  })

  it('is said of in any letters, up to 1000 of them', async () => {
    const latin1 = (text: string) => Buffer.from(text).toString('latin1')
    expect((await add('a', { body: 'one', headers: saying(latin1('für später 🙂')) })).status).toBe(201)
    expect((await add('a', { body: 'two', headers: saying('é'.repeat(1000)) })).status).toBe(201)
    expect(await comments('a')).toEqual(['é'.repeat(1000), 'für später 🙂'])
    const answer = await add('a', { body: 'three', headers: saying('x'.repeat(1001)) })
    expect([answer.status, await answer.json()]).toMatchObject([400, { code: 'InvalidParameter' }])
    expect(await steps.history('a')).toEqual(['2', '1'])
  })

  it('is for who may upload', async () => {
    const seen = 'create policy seen on storage.objects for select to authenticated using (true)'
    await withPolicies(server.admin, seen, async () => {
      await steps.uploaded('a', 'one')
      const token = await server.token('somebody')
      expect((await add('a', { body: 'two', token })).status).toBe(403)
      expect((await add('a', { token }, '?snapshot=true')).status).toBe(403)
      expect(await steps.history('a')).toEqual(['1'])
    })
  })

  it.each([
    ['off', {}, 'DISABLED'],
    ['suspended', { versioning_status: 'ENABLED' }, 'SUSPENDED'],
  ])('is refused where versions are %s', async (_, settings, status) => {
    bucket = await steps.newBucket(settings)
    if (status === 'SUSPENDED') await steps.setStatus(status)
    await steps.uploaded('a', 'one')
    for (const answer of [await add('a', { body: LARGE }), await add('a', {}, '?snapshot=true')]) {
      expect([answer.status, await answer.json()]).toMatchObject([
        409,
        { code: 'FeatureNotEnabled', message: expect.stringContaining(status) },
      ])
    }
    expect(await steps.now('a')).toBe('one')
  })
})

describe('a snapshot', () => {
  it.each([
    ['in the database', 'one'],
    ['in a file', LARGE],
  ])('of bytes %s makes what is there a version, and the same be there', async (_, body) => {
    const versions = await steps.uploaded('a', body)
    const before = await steps.json('GET', `/object/info/${bucket}/a`)
    const answer = await add('a', { headers: saying('before the great change') }, '?snapshot=true')
    const after = await steps.json('GET', `/object/info/${bucket}/a`)
    expect([answer.status, await answer.json()]).toMatchObject([201, { version_id: after.version }])
    expect(after).toMatchObject({ id: before.id, etag: before.etag, content_type: before.content_type })
    expect(after.version).not.toBe(before.version)
    expect(await steps.now('a')).toBe(body)
    expect(await steps.texts('a', versions)).toEqual([body])
    expect(await comments('a')).toEqual(['before the great change', null])
  })

  it('of what is not there, or of another, is none', async () => {
    expect((await add('a', {}, '?snapshot=true')).status).toBe(404)
    await steps.uploaded('a', 'one')
    expect((await add('a', { headers: { 'if-match': '"another"' } }, '?snapshot=true')).status).toBe(412)
    expect((await add('a', {}, '?snapshot=maybe')).status).toBe(400)
    expect((await add('a', { body: 'bytes that nobody would keep' }, '?snapshot=true')).status).toBe(400)
    expect(await steps.history('a')).toEqual(['1'])
  })
})
