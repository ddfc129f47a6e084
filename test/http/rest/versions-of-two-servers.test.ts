import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { VersionSteps } from '../../support/version-steps.ts'
import { until } from '../../support/wait.ts'

/** Two servers over one database: what one does to versions, and what the other has in memory (docs/versions.md, wire §13.2). */

let server: TestServer
let other: Served
let steps: VersionSteps
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
  other = await server.beside()
  steps = new VersionSteps(server)
})
beforeEach(async () => {
  bucket = await steps.newBucket({ versioning_status: 'ENABLED', public: true })
})
afterAll(async () => {
  await other.close()
  await server.close()
})

/** What the other server answers to anybody: the text, or the status. */
async function read(name: string, query = ''): Promise<string | number> {
  const answer = await other.request('GET', `/storage/v1/object/public/${bucket}/${name}${query}`, {
    token: null,
  })
  return answer.ok ? answer.text() : answer.status
}

/** Reads until the other server has it in memory. */
async function heat(name: string, text: string): Promise<void> {
  for (let times = 0; times < 5; times++) expect(await read(name)).toBe(text)
}

const texts = [
  ['small', 'one', 'two'],
  ['large', 'x'.repeat(200_000), 'y'.repeat(200_000)],
] as const

describe.each(texts)('what a server has in memory of a %s object', (_, one, two) => {
  it('is not answered once its version is deleted for good: the one before is', async () => {
    const [, second] = await steps.uploaded('a', one, two)
    await heat('a', two)
    await steps.json('DELETE', `/object/${bucket}/a?versionId=${second}`)
    expect(await read('a', `?versionId=${second}`)).toBe(404)
    await until(async () => (await read('a')) === one, 'the other server has heard')
    await heat('a', one)
  })

  it('is not answered once the name is deleted, and is again once the marker is', async () => {
    await steps.uploaded('a', one)
    await heat('a', one)
    const rows = await steps.json('DELETE', `/object/${bucket}`, { body: { prefixes: ['a'] } })
    await until(async () => (await read('a')) === 404, 'the other server has heard')
    const { version } = Object(Object.values(rows)[0])
    await steps.json('DELETE', `/object/${bucket}/a?versionId=${version}`)
    expect(await read('a')).toBe(one)
  })

  it('is not answered once another one is restored', async () => {
    const [first] = await steps.uploaded('a', one, two)
    await heat('a', two)
    const body = { bucket, path: 'a', version_id: first }
    const { version } = await steps.json('POST', '/versions/restore', { body })
    await until(async () => (await read('a')) === one, 'the other server has heard')
    await heat('a', one)
    expect(await read('a', `?versionId=${version}`)).toBe(one)
  })

  it('is not answered once it is moved, nor at the new name what was there', async () => {
    const [first] = await steps.uploaded('a', one)
    await heat('a', one)
    const route = { bucketId: bucket, sourceKey: 'a', destinationKey: 'b' }
    await steps.json('POST', '/object/move', { body: { ...route, sourceVersionId: first } })
    await until(async () => (await read('a')) === 404, 'the other server has heard')
    expect([await read('b'), await read('a', `?versionId=${first}`)]).toEqual([one, 404])
  })

  it('is no version that is deleted, by its id or by a link', async () => {
    const [first] = await steps.uploaded('a', one, two)
    const body = { expiresIn: 60, versionId: first }
    const { signedURL } = await steps.json('POST', `/object/sign/${bucket}/a`, { body })
    const link = async () => {
      const answer = await other.request('GET', `/storage/v1${signedURL}`, { token: null })
      return answer.ok ? answer.text() : answer.status
    }
    for (let times = 0; times < 3; times++) {
      expect([await read('a', `?versionId=${first}`), await link(), await read('a')]).toEqual([one, one, two])
    }
    await steps.json('DELETE', `/object/${bucket}/a?versionId=${first}`)
    expect([await read('a', `?versionId=${first}`), await link(), await read('a')]).toEqual([404, 404, two])
  })
})

describe('what one server is told of a bucket', () => {
  const put = (body: string) => other.request('PUT', `/storage/v1/object/${bucket}/a`, { body })

  // The other one knows the bucket as it was: it has written there.
  it('is obeyed by the other at once: versions', async () => {
    bucket = await steps.newBucket({ public: true })
    for (const body of ['one', 'two']) expect((await put(body)).ok).toBe(true)
    expect(await steps.history('a')).toHaveLength(1)
    await steps.setStatus('ENABLED')
    expect((await put('three')).ok).toBe(true)
    expect(await steps.history('a')).toHaveLength(2)
    const [kept] = await other
      .request('GET', `/storage/v1/versions/${bucket}/a`)
      .then(async (answer) => Object(await answer.json()).items.slice(1))
    expect(await read('a', `?versionId=${kept.version_id}`)).toBe('two')
    await steps.setStatus('SUSPENDED')
    for (const body of ['four', 'five']) expect((await put(body)).ok).toBe(true)
    expect(await steps.history('a')).toHaveLength(2) // the null version, which was there before, has given way
  })

  it('is obeyed by the other at once: a lock', async () => {
    bucket = await steps.newBucket({ versioning_status: 'ENABLED', public: true })
    expect((await put('one')).ok).toBe(true)
    await steps.json('PUT', `/bucket/${bucket}`, { body: { object_lock: true } })
    expect((await put('two')).ok).toBe(true)
    const { version } = await steps.json('GET', `/object/info/${bucket}/a`)
    await heat('a', 'two')
    await steps.json('PUT', `/lock/${bucket}/a`, { body: { legal_hold: true } })
    const refused = await other.request('DELETE', `/storage/v1/object/${bucket}/a?versionId=${version}`)
    expect([refused.status, await refused.json()]).toMatchObject([409, { code: 'ObjectLocked' }])
    const all = await other.request('DELETE', `/storage/v1/object/${bucket}/a?permanent=true`)
    expect(all.status).toBe(409)
    expect(await read('a', `?versionId=${version}`)).toBe('two')
  })
})

describe('at the same moment, through both servers,', () => {
  const turns = (at: number) => (at % 2 === 0 ? server : other)

  /** How many rows a name has, and how many of them are the current one: an object, or a marker on top. */
  async function rowsOf(name: string): Promise<{ rows: number; current: number }> {
    const items = await server.admin<{ is_latest: boolean }[]>`
      select is_latest from storage.list_history_as(${bucket}, ${name}, '', null, null, 100, null, 'include', 'include',
        true, null, ${['service_role', '', '{}', '', '', '', '', '{}', 'false'].join('\x1f')})`
    return { rows: items.length, current: items.filter((item) => item.is_latest).length }
  }

  it('six upserts make six rows, one of them the current one, and no body is lost', async () => {
    const bodies = Array.from({ length: 6 }, (_, n) => `body ${n}`)
    const answers = await Promise.all(
      bodies.map((body, n) =>
        turns(n).request('POST', `/storage/v1/object/${bucket}/a`, { body, headers: { 'x-upsert': 'true' } }),
      ),
    )
    expect(answers.map(({ ok }) => ok)).toEqual(bodies.map(() => true))
    expect(await rowsOf('a')).toEqual({ rows: 6, current: 1 })
    expect(await steps.history('a')).toEqual(['6', '5', '4', '3', '2', '1'])
    const kept = await Promise.all(
      [1, 2, 3, 4, 5, 6].map(async (n) =>
        (await steps.ask('GET', `/object/${bucket}/a?version=${n}`)).text(),
      ),
    )
    expect(kept.sort()).toEqual(bodies)
  })

  it.each([1, 2, 3, 4])('a delete beside an upload makes three rows, one the current one (%i)', async (n) => {
    await steps.uploaded('a', 'one')
    const [deleted, put] = await Promise.all([
      turns(n).request('DELETE', `/storage/v1/object/${bucket}/a`),
      turns(n + 1).request('PUT', `/storage/v1/object/${bucket}/a`, { body: 'two' }),
    ])
    expect([deleted.ok, put.ok]).toEqual([true, true])
    expect(await rowsOf('a')).toEqual({ rows: 3, current: 1 })
    const numbers = (await steps.history('a')).map((one) => Number(one.replace('marker ', '')))
    expect(numbers).toEqual([3, 2, 1])
  })

  it('versions that are deleted for good wait for each other, and for uploads, in no circle', async () => {
    for (let round = 0; round < 5; round++) {
      const versions = await steps.uploaded('a', 'one', 'two', 'three', 'four')
      const answers = await Promise.all([
        ...versions.map((version, n) =>
          turns(n).request('DELETE', `/storage/v1/object/${bucket}/a?versionId=${version}`),
        ),
        turns(round).request('PUT', `/storage/v1/object/${bucket}/a`, { body: 'between' }),
        turns(round + 1).request('DELETE', `/storage/v1/object/${bucket}`, {
          body: { prefixes: ['b', { path: 'a', versionId: versions[0] }] },
        }),
      ])
      const texts = await Promise.all(answers.map((answer) => answer.text()))
      // Two delete the first one: to the second of them it is gone. The upload may find nothing left.
      const [first, ...statuses] = answers.map(({ status }) => status)
      expect([204, 404]).toContain(first)
      const put = expect.toSatisfy((status: number) => status === 200 || status === 201)
      expect(statuses, String(texts)).toEqual([204, 204, 204, put, 200])
      expect(await steps.now('a')).toBe('between')
      const { version } = await steps.json('GET', `/object/info/${bucket}/a`)
      await steps.json('DELETE', `/object/${bucket}/a?versionId=${version}`)
      expect(await steps.history('a')).toEqual([])
    }
  })
})
