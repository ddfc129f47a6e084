import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { isFull } from '../faults/size.ts'
import { cleanUp, repairsOf } from '../support/cleanup.ts'
import { type Served, startTestServer, type TestServer } from '../support/server.ts'

// Two servers over one database and one folder, as a fleet has them; requests go to both by turns.
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

/** Small bodies take one transaction, large ones a list and a stream; both meet here. */
const bodies = Array.from({ length: 8 }, (_, i) => randomBytes(i % 2 === 0 ? 2000 + i : 300_000 + i))
const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const digests = bodies.map(digest)

async function ask(method: string, path: string, body?: object, headers: Record<string, string> = {}) {
  const server = turn++ % 2 === 0 ? first : second
  const response = await server.request(method, path, { headers, ...(body && { body }) })
  const bytes = new Uint8Array(await response.arrayBuffer())
  return { status: response.status, bytes, text: () => Buffer.from(bytes).toString() }
}

const upload = (name: string, body: Buffer, upsert = true) =>
  ask('POST', `/object/${bucket}/${name}`, body, { 'x-upsert': String(upsert) })
const get = (name: string) => ask('GET', `/object/${bucket}/${name}`)
const remove = (name: string) => ask('DELETE', `/object/${bucket}/${name}`)
const move = (from: string, to: string) =>
  ask('POST', '/object/move', { bucketId: bucket, sourceKey: from, destinationKey: to })
const copy = (from: string, to: string) =>
  ask(
    'POST',
    '/object/copy',
    { bucketId: bucket, sourceKey: from, destinationKey: to },
    { 'x-upsert': 'true' },
  )

const statuses = async (answers: Promise<{ status: number; text(): string }>[]) =>
  (await Promise.all(answers)).map((answer) => answer.status)

/** What is under a name: one of the bodies, whole, or nothing. */
async function expectWholeOrNothing(...names: string[]): Promise<void> {
  for (const name of names) {
    const { status, bytes } = await get(name)
    if (status !== 404) expect([status, digests.includes(digest(bytes))]).toEqual([200, true])
  }
}

/** No bytes without a row, no row without bytes, and nothing left on a list, without any cleanup. */
async function expectNoDrift(): Promise<void> {
  const [lists] = await first.admin`
    select (select count(*)::int from storage.uploads) as uploads, (select count(*)::int from storage.removals) as removals`
  expect(lists).toEqual({ uploads: 0, removals: 0 })
  expect(repairsOf(await cleanUp(first, { dryRun: true }))).toEqual({})
}

const ROUNDS = isFull ? 50 : 3

describe.each(Array.from({ length: ROUNDS }, (_, round) => round))('round %i', () => {
  it('of many that create one name: one wins, the others hear that it exists', async () => {
    const answers = await statuses(bodies.map((body) => upload('a', body, false)))
    expect(answers.toSorted()).toEqual([201, ...Array(bodies.length - 1).fill(409)])
    const winner = answers.indexOf(201)
    expect(digest((await get('a')).bytes)).toBe(digests[winner])
    await expectNoDrift()
  })

  it('of many that overwrite one name: all succeed, one is there', async () => {
    const answers = await statuses(bodies.map((body) => upload('a', body)))
    for (const status of answers) expect([200, 201]).toContain(status)
    expect((await get('a')).status).toBe(200)
    await expectWholeOrNothing('a')
    await expectNoDrift()
  })

  it('of uploads against deletes', async () => {
    const answers = await statuses(bodies.flatMap((body) => [upload('a', body), remove('a')]))
    for (const [index, status] of answers.entries()) {
      expect(index % 2 === 0 ? [200, 201] : [204, 404, 409]).toContain(status)
    }
    await expectWholeOrNothing('a')
    await expectNoDrift()
  })

  it('of uploads, moves and copies among three names', async () => {
    await statuses(['a', 'b', 'c'].map((name, index) => upload(name, bodies[index] as Buffer)))
    const answers = await statuses([
      move('a', 'b'),
      move('b', 'c'),
      move('c', 'a'),
      copy('a', 'b'),
      copy('b', 'c'),
      copy('c', 'a'),
      upload('a', bodies[4] as Buffer),
      upload('b', bodies[5] as Buffer),
      remove('c'),
    ])
    for (const status of answers) expect([200, 201, 204, 404, 409]).toContain(status)
    await expectWholeOrNothing('a', 'b', 'c')
    await expectNoDrift()
  })

  it('of two moves of one object: one wins, the other finds nothing to move', async () => {
    await upload('a', bodies[0] as Buffer)
    const answers = await statuses([move('a', 'b'), move('a', 'c')])
    expect(answers.toSorted()).toEqual([200, 404])
    const found = await statuses([get('b'), get('c')])
    expect(found.toSorted()).toEqual([200, 404])
    await expectNoDrift()
  })

  it('of uploads against the deletion of their bucket: an object in a bucket, or neither', async () => {
    const answers = await statuses([
      upload('a', bodies[0] as Buffer),
      upload('b', bodies[1] as Buffer),
      ask('DELETE', `/bucket/${bucket}`),
      upload('c', bodies[3] as Buffer),
    ])
    const [row] =
      await first.admin`select count(*)::int as n from storage.objects where bucket_id = ${bucket}`
    const stored = answers.filter((status) => status === 201).length
    if (answers[2] === 200) expect([stored, row?.n]).toEqual([0, 0])
    else expect([answers[2], stored, row?.n]).toEqual([409, 3, 3])
    for (const status of answers) expect([200, 201, 404, 409]).toContain(status)
    await cleanUp(first) // of the folders of a deleted bucket
    await expectNoDrift()
  })

  it('of uploads while their bucket is emptied', async () => {
    await statuses(['a', 'b', 'c', 'd'].map((name, index) => upload(name, bodies[index] as Buffer)))
    const answers = await statuses([
      ask('POST', `/bucket/${bucket}/empty`),
      upload('a', bodies[4] as Buffer),
      upload('e', bodies[5] as Buffer),
      upload('f', bodies[6] as Buffer),
    ])
    for (const status of answers) expect([200, 201]).toContain(status)
    // What was there is gone; what came meanwhile is whole, or went with the rest.
    expect(await statuses([get('b'), get('c'), get('d')])).toEqual([404, 404, 404])
    await expectWholeOrNothing('a', 'e', 'f')
    await expectNoDrift()
  })

  it('of readers while others overwrite and delete: each reads one body, whole, or nothing', async () => {
    await upload('a', bodies[0] as Buffer)
    const reads = Array.from({ length: 12 }, () => get('a'))
    await statuses([
      ...bodies.map((body) => upload('a', body)),
      remove('a'),
      ...bodies.map((body) => upload('a', body)),
    ])
    for (const { status, bytes } of await Promise.all(reads)) {
      expect([200, 404]).toContain(status)
      if (status === 200) expect(digests).toContain(digest(bytes))
    }
    await expectNoDrift()
  })
})

describe('the cleanup on both servers while others upload', () => {
  it('takes nothing that is acknowledged or being written, even without a grace period', async () => {
    const names = Array.from({ length: 60 }, (_, index) => `file-${index}`)
    let isDone = false
    const cleaners = [first, first].map(async () => {
      let passes = 0
      while (!isDone) {
        // Streamed uploads are on a list that grace 0 would take from them, so only the sweep goes without.
        const report = await cleanUp(first, { settings: { graceMs: 2000 } }).catch(() => null)
        if (report) passes++
      }
      return passes
    })
    const stored = await Promise.all(
      names.map(async (name, index) => {
        const body = bodies[index % bodies.length] as Buffer
        const { status } = await upload(name, body)
        expect(status).toBe(201)
        const again = await get(name)
        return again.status === 200 && digest(again.bytes) === digest(body)
      }),
    )
    isDone = true
    expect((await Promise.all(cleaners)).some((passes) => passes > 0)).toBe(true)
    expect(stored.every(Boolean)).toBe(true)
    for (const [index, name] of names.entries()) {
      expect(digest((await get(name)).bytes)).toBe(digests[index % bodies.length])
    }
    await expectNoDrift()
  })
})
