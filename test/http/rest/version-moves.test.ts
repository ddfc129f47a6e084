import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { VersionSteps } from '../../support/version-steps.ts'

/** A move in buckets that keep versions (docs/versions.md, wire §13.2). */

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

const SMALL = 'small'
const LARGE = 'x'.repeat(200_000)

/** Moves `a`, to `b` unless it is said otherwise. */
function move(
  to: {
    key?: string
    bucket?: string
    version?: string
    token?: string
    headers?: Record<string, string>
  } = {},
) {
  const { key = 'b', version: sourceVersionId, token, headers = {} } = to
  const body = {
    bucketId: bucket,
    sourceKey: 'a',
    destinationBucket: to.bucket,
    destinationKey: key,
    sourceVersionId,
  }
  return steps.ask('POST', '/object/move', { body, headers, ...(token !== undefined && { token }) })
}

async function versionOf(name: string, in_ = bucket): Promise<string> {
  return String((await steps.json('GET', `/object/info/${in_}/${name}`)).version)
}

/** What is on the lists of bytes that nothing names. */
async function listed(): Promise<number> {
  const [row] = await server.admin`
    select (select count(*) from storage.uploads) + (select count(*) from storage.removals) as count`
  return Number(row?.count)
}

describe('a move where versions are kept', () => {
  it.each([
    ['in the database', SMALL],
    ['in a file', LARGE],
  ])('of bytes %s leaves a marker and its history, and is another version', async (_, text) => {
    const versions = await steps.uploaded('a', 'one', text)
    const files = (await server.storedFiles()).length
    expect((await move()).status).toBe(200)
    expect([await steps.now('a'), await steps.now('b')]).toEqual([404, text])
    expect(await steps.history('a')).toEqual(['marker 3', '2', '1'])
    expect(await steps.history('b')).toEqual(['1'])
    expect(await steps.texts('a', versions)).toEqual(['one', text])
    expect(versions).not.toContain(await versionOf('b'))
    expect(await server.storedFiles()).toHaveLength(files + 1)
    expect(await listed()).toBe(0)
  })

  it('and back is one more version of each name', async () => {
    await steps.uploaded('a', 'one')
    await move()
    const body = { bucketId: bucket, sourceKey: 'b', destinationKey: 'a' }
    await steps.json('POST', '/object/move', { body })
    expect([await steps.now('a'), await steps.now('b')]).toEqual(['one', 404])
    expect(await steps.history('a')).toEqual(['3', 'marker 2', '1'])
    expect(await steps.history('b')).toEqual(['marker 2', '1'])
  })

  it('onto an object is refused, and leaves nothing; over a marker it is not', async () => {
    await steps.uploaded('a', LARGE)
    await steps.uploaded('b', 'two')
    const files = await server.storedFiles()
    const answer = await move()
    expect([answer.status, await answer.json()]).toMatchObject([409, { error: 'Duplicate' }])
    expect([await steps.history('a'), await steps.history('b')]).toEqual([['1'], ['1']])
    expect(await server.storedFiles()).toEqual(files)
    await steps.ask('DELETE', `/object/${bucket}/b`)
    expect((await move()).status).toBe(200)
    expect(await steps.history('b')).toEqual(['3', 'marker 2', '1'])
    expect(await steps.now('b')).toBe(LARGE)
  })

  it.each([
    [false, true, ['1'], ['1']],
    [true, false, ['marker 2', '1'], ['1']],
    [true, true, ['marker 2', '1'], ['1']],
  ])('to another bucket, with versions %s there and %s here', async (isThere, isHere, there, here) => {
    const settings = (isOn: boolean) => (isOn ? { versioning_status: 'ENABLED' } : {})
    const other = await steps.newBucket(settings(isHere))
    bucket = await steps.newBucket(settings(isThere))
    const [version] = await steps.uploaded('a', LARGE)
    expect((await move({ bucket: other })).status).toBe(200)
    expect([await steps.now('a'), await steps.now('b', other)]).toEqual([404, LARGE])
    expect(await steps.history('a')).toEqual(isThere ? there : [])
    expect(await steps.history('b', other)).toEqual(here)
    expect((await versionOf('b', other)) === version).toBe(!isThere)
  })

  it('with versions suspended leaves a null marker, and no bytes', async () => {
    await steps.setStatus('SUSPENDED')
    await steps.uploaded('a', LARGE)
    const files = (await server.storedFiles()).length
    expect((await move()).status).toBe(200)
    expect([await steps.history('a'), await steps.history('b')]).toEqual([['marker 2'], ['1']])
    expect(await steps.now('b')).toBe(LARGE)
    expect(await server.storedFiles()).toHaveLength(files)
  })

  it('is for who may move: others make no bytes be copied', async () => {
    const seen = 'create policy seen on storage.objects for select to authenticated using (true)'
    await withPolicies(server.admin, seen, async () => {
      await steps.uploaded('a', LARGE)
      const files = await server.storedFiles()
      const token = await server.token('somebody')
      expect((await move({ token })).status).toBe(403)
      expect(await server.storedFiles()).toEqual(files)
      expect([await steps.history('a'), await steps.history('b')]).toEqual([['1'], []])
    })
  })

  it('is another’s to take part in: his own objects a user moves', async () => {
    const mine = `create policy mine on storage.objects for all to authenticated
      using (owner_id = auth.jwt() ->> 'sub') with check (owner_id = auth.jwt() ->> 'sub')`
    await withPolicies(server.admin, mine, async () => {
      const token = await server.token('owner')
      await steps.json('PUT', `/object/${bucket}/a`, { body: LARGE, token })
      expect((await move({ token })).status).toBe(200)
      expect(await steps.now('b')).toBe(LARGE)
      expect(await steps.history('a')).toEqual(['marker 2', '1'])
    })
  })

  it('does not move what is not what its sender knows', async () => {
    await steps.uploaded('a', LARGE)
    expect((await move({ headers: { 'if-match': '"another"' } })).status).toBe(412)
    const files = await server.storedFiles()
    expect([await steps.history('a'), await steps.history('b')]).toEqual([['1'], []])
    expect(await server.storedFiles()).toEqual(files)
  })

  it('of what is written at the same moment moves one of the two whole', async () => {
    await steps.uploaded('a', LARGE)
    const [moved] = await Promise.all([
      move(),
      ...[1, 2, 3].map((n) => steps.json('PUT', `/object/${bucket}/a`, { body: `${n}${LARGE}` })),
    ])
    expect(moved.status).toBe(200)
    expect([LARGE, `1${LARGE}`, `2${LARGE}`, `3${LARGE}`]).toContain(await steps.now('b'))
    const numbers = (await steps.history('a')).map((one) => Number(one.replace('marker ', '')))
    expect(numbers).toEqual([5, 4, 3, 2, 1])
    expect(await listed()).toBe(0)
  })
})

describe('a move of one version', () => {
  it('that is the current one lets the one before move up, without a marker', async () => {
    const versions = await steps.uploaded('a', 'one', LARGE)
    const files = await server.storedFiles()
    expect((await move({ version: versions[1] ?? '' })).status).toBe(200)
    expect([await steps.now('a'), await steps.now('b')]).toEqual(['one', LARGE])
    expect([await steps.history('a'), await steps.history('b')]).toEqual([['1'], ['1']])
    expect(await server.storedFiles()).toEqual(files)
    expect(await steps.texts('a', versions)).toEqual(['one', 404])
    expect(await versionOf('b')).toBe(versions[1])
  })

  it('that is all there is leaves nothing', async () => {
    const versions = await steps.uploaded('a', 'one')
    expect((await move({ version: versions[0] ?? '' })).status).toBe(200)
    expect([await steps.history('a'), await steps.history('b')]).toEqual([[], ['1']])
    expect(await steps.now('b')).toBe('one')
  })

  it.each([
    ['in the database', SMALL],
    ['in a file', LARGE],
  ])('of before, %s, takes it out of the history', async (_, text) => {
    const versions = await steps.uploaded('a', text, 'two', 'three')
    await steps.uploaded('b', 'there')
    await steps.ask('DELETE', `/object/${bucket}/b`)
    const files = (await server.storedFiles()).sort()
    expect((await move({ version: versions[0] ?? '' })).status).toBe(200)
    expect([await steps.now('a'), await steps.now('b')]).toEqual(['three', text])
    expect(await steps.history('a')).toEqual(['3', '2'])
    expect(await steps.history('b')).toEqual(['3', 'marker 2', '1'])
    expect((await server.storedFiles()).sort()).toEqual(files)
    expect(await listed()).toBe(0)
  })

  it('of a name that was deleted leaves it deleted', async () => {
    const versions = await steps.uploaded('a', 'one', 'two')
    await steps.ask('DELETE', `/object/${bucket}/a`)
    expect((await move({ version: versions[1] ?? '' })).status).toBe(200)
    expect([await steps.now('a'), await steps.now('b')]).toEqual([404, 'two'])
    expect(await steps.history('a')).toEqual(['marker 3', '1'])
    expect((await move({ key: 'a', version: versions[0] ?? '' })).status).toBe(200)
    expect(await steps.now('a')).toBe('one')
    expect(await steps.history('a')).toEqual(['4', 'marker 3'])
  })

  it('to another bucket, without versions there', async () => {
    const other = await steps.newBucket({})
    bucket = await steps.newBucket()
    const versions = await steps.uploaded('a', LARGE, 'two')
    expect((await move({ bucket: other, version: versions[0] ?? '' })).status).toBe(200)
    expect([await steps.now('a'), await steps.now('b', other)]).toEqual(['two', LARGE])
    expect(await steps.history('a')).toEqual(['2'])
  })

  it('that is none, or onto what is there, is refused', async () => {
    const versions = await steps.uploaded('a', 'one', 'two')
    await steps.uploaded('b', 'there')
    for (const version of ['nonsense', randomUUID()]) {
      const answer = await move({ key: 'c', version })
      expect([answer.status, await answer.json()]).toMatchObject([404, { code: 'NoSuchVersion' }])
    }
    for (const version of versions) {
      const answer = await move({ version })
      expect([answer.status, await answer.json()]).toMatchObject([409, { error: 'Duplicate' }])
      expect((await move({ version, headers: { 'if-none-match': '*' } })).status).toBe(412)
    }
    const [, marker] = [
      await steps.ask('DELETE', `/object/${bucket}/a`),
      (
        await server.admin`select version from storage.object_versions where bucket_id = ${bucket} and is_delete_marker`
      )[0],
    ]
    expect((await move({ key: 'c', version: marker?.version })).status).toBe(404)
    expect(await steps.history('a')).toEqual(['marker 3', '2', '1'])
  })

  it('is for who may move it, or delete it and upload there', async () => {
    const policies = `
      create policy seen on storage.objects for select to authenticated using (true);
      create policy there on storage.objects for insert to authenticated with check (name = 'b');
      create policy gone on storage.objects for delete to authenticated using (auth.jwt() ->> 'sub' = 'deleter')`
    await withPolicies(server.admin, policies, async () => {
      const versions = await steps.uploaded('a', 'one', 'two')
      const [reader, deleter] = [await server.token('reader'), await server.token('deleter')]
      for (const version of versions) expect((await move({ version, token: reader })).status).toBe(403)
      expect((await move({ key: 'c', version: versions[0] ?? '', token: deleter })).status).toBe(403)
      expect((await move({ version: versions[1] ?? '', token: deleter })).status).toBe(403)
      expect(await steps.history('a')).toEqual(['2', '1'])
      expect((await move({ version: versions[0] ?? '', token: deleter })).status).toBe(200)
      expect([await steps.history('a'), await steps.history('b')]).toEqual([['2'], ['1']])
    })
  })

  it('that is locked is refused', async () => {
    bucket = await steps.newBucket({ versioning_status: 'ENABLED' })
    await server.admin`update storage.buckets set object_lock = true, retention_days = 1 where id = ${bucket}`
    const versions = await steps.uploaded('a', 'one', 'two')
    for (const version of versions) {
      const answer = await move({ version })
      expect([answer.status, await answer.json()]).toMatchObject([409, { code: 'ObjectLocked' }])
    }
    expect([await steps.history('a'), await steps.history('b')]).toEqual([['2', '1'], []])
  })
})
