import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { isFull } from '../faults/size.ts'
import { cleanUp, repairsOf } from '../support/cleanup.ts'
import { type Served, startTestServer, type TestServer } from '../support/server.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { besideInnocent } from './support/innocent.ts'

/*
 * Many writers at one object, through two servers, each sure that it is the only one: of those with the same condition
 * one may succeed, and nothing that was acknowledged may be overwritten by who has not seen it.
 */

let first: TestServer
let second: Served
let bucket: string
let turn = 0
beforeAll(async () => {
  first = await startTestServer()
  second = await first.beside()
})
afterAll(async () => {
  await second.close()
  await first.close()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await first.createBucket(bucket)
})

/** Through either server by turns. */
async function ask(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: object | string,
) {
  const server = turn++ % 2 === 0 ? first : second
  const response = await server.request(method, path, { headers, ...(body !== undefined && { body }) })
  return { status: response.status, etag: response.headers.get('etag') ?? '', text: await response.text() }
}

const object = (name = 'a') => `/object/${bucket}/${name}`
const successes = (answers: { status: number }[]) => answers.filter(({ status }) => status < 300).length
const statuses = (answers: { status: number }[]) => new Set(answers.map(({ status }) => status))

/** Small bodies take one transaction, large ones a list and a stream; both meet here. */
const bodies = Array.from({ length: 12 }, (_, i) => randomBytes(i % 2 === 0 ? 2000 + i : 300_000 + i))

async function expectNoDrift(): Promise<void> {
  const [lists] = await first.admin`
    select (select count(*)::int from storage.uploads) as uploads, (select count(*)::int from storage.removals) as removals`
  expect(lists).toEqual({ uploads: 0, removals: 0 })
  expect(repairsOf(await cleanUp(first, { dryRun: true }))).toEqual({})
}

const ROUNDS = isFull ? 50 : 2

describe.each(Array.from({ length: ROUNDS }, (_, round) => round))('round %i', () => {
  it.each(['PUT', 'POST'])('of many that %s what must not be there, one succeeds', async (method) => {
    const answers = await Promise.all(
      bodies.map((body) => ask(method, object(), { 'if-none-match': '*' }, body)),
    )
    expect(successes(answers)).toBe(1)
    expect(statuses(answers)).toEqual(new Set([201, 412]))
    await expectNoDrift()
  })

  it('of many that replace the same version, one succeeds', async () => {
    await ask('PUT', object(), {}, 'before')
    const { etag } = await ask('GET', object())
    const answers = await Promise.all(bodies.map((body) => ask('PUT', object(), { 'if-match': etag }, body)))
    expect(successes(answers)).toBe(1)
    expect(statuses(answers)).toEqual(new Set([200, 412]))
    await expectNoDrift()
  })

  it('of a replacement, a delete, a move and a copy of the same version, one succeeds', async () => {
    await ask('PUT', object(), {}, 'before')
    await ask('PUT', object('other'), {}, 'other')
    const { etag } = await ask('GET', object())
    const when = { 'if-match': etag }
    const transfer = (how: string, sourceKey: string, destinationKey: string) =>
      ask(
        'POST',
        `/object/${how}`,
        { ...when, 'x-upsert': 'true' },
        { bucketId: bucket, sourceKey, destinationKey },
      )
    const answers = await Promise.all([
      ask('PUT', object(), when, bodies[0]),
      ask('PUT', object(), when, bodies[1]),
      ask('DELETE', object(), when),
      transfer('move', 'a', 'moved'),
      transfer('copy', 'other', 'a'),
    ])
    expect(successes(answers)).toBe(1)
    for (const { status } of answers) expect([200, 204, 404, 412]).toContain(status)
    await expectNoDrift()
  })

  it('of many that finish an upload in pieces of what must not be there, one succeeds', async () => {
    const uploads = await Promise.all(
      bodies.map(async (body, index) => {
        const tus = new TusRequests(index % 2 === 0 ? first : second, { headers: { 'x-upsert': 'true' } })
        const at = { bucket, name: 'a' }
        return { tus, body, url: await tus.begin(at, body.length, { headers: { 'if-none-match': '*' } }) }
      }),
    )
    const answers = await Promise.all(uploads.map(({ tus, body, url }) => tus.patch(url, 0, body)))
    expect(successes(answers)).toBe(1)
    expect(statuses(answers)).toEqual(new Set([204, 412]))
    for (const { tus, url } of uploads) await tus.terminate(url)
    await expectNoDrift()
  })

  it('of many that change the same settings of a bucket, one succeeds', async () => {
    const { etag } = await ask('GET', `/bucket/${bucket}`)
    const answers = await Promise.all(
      bodies.map((_, index) =>
        ask('PUT', `/bucket/${bucket}`, { 'if-match': etag }, { file_size_limit: index + 1 }),
      ),
    )
    expect(successes(answers)).toBe(1)
    expect(statuses(answers)).toEqual(new Set([200, 412]))
  })

  it('beside writers that do not care, and deletes, each answer is true', async () => {
    const answers = await Promise.all(
      bodies.flatMap((body) => [
        ask('PUT', object(), {}, body),
        ask('PUT', object(), { 'if-none-match': '*' }, body),
        ask('PUT', object(), { 'if-match': '*' }, body),
        ask('DELETE', object()),
      ]),
    )
    for (const { status } of answers) expect([200, 201, 204, 404, 409, 412]).toContain(status)
    await expectNoDrift()
  })
})

it('a counter that everybody reads and writes loses nothing, beside an innocent client', async () => {
  const CLIENTS = 6
  const EACH = isFull ? 50 : 5
  await ask('PUT', object('counter'), {}, '0')
  await besideInnocent(first, async () => {
    const count = async () => {
      for (let done = 0; done < EACH; ) {
        const { text, etag } = await ask('GET', object('counter'))
        const { status } = await ask('PUT', object('counter'), { 'if-match': etag }, String(Number(text) + 1))
        expect([200, 412]).toContain(status)
        if (status === 200) done++
      }
    }
    await Promise.all(Array.from({ length: CLIENTS }, count))
  })
  expect((await ask('GET', object('counter'))).text).toBe(String(CLIENTS * EACH))
  await expectNoDrift()
})
