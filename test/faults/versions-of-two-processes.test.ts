import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { until } from '../support/wait.ts'
import { ServerProcesses } from './server-processes.ts'

/*
 * Two servers, each a process of its own, over one database and one folder: what one does to versions and to the trash the other
 * has in memory no more (docs/several-servers.md).
 */

let servers: ServerProcesses
let urls: string[]
let bucket: string
beforeAll(async () => {
  servers = await ServerProcesses.open()
  const commands = [await servers.start(), await servers.start()]
  urls = await Promise.all(commands.map((command) => command.url()))
}, 120_000)
afterAll(() => servers?.remove())

/** As the service, by the one that changes. */
async function change(
  method: string,
  path: string,
  body?: object | string,
): Promise<Record<string, unknown>> {
  const answer = await fetch(`${urls[0]}/storage/v1${path}`, {
    method,
    headers: {
      authorization: `Bearer ${servers.keys.serviceKey}`,
      'content-type': typeof body === 'object' ? 'application/json' : 'text/plain',
    },
    ...(body !== undefined && { body: typeof body === 'object' ? JSON.stringify(body) : body }),
  })
  const text = await answer.text()
  expect(answer.ok, text).toBe(true)
  return text === '' ? {} : JSON.parse(text)
}

/** What the other one answers to anybody: the text, or the status. */
async function read(query = ''): Promise<string | number> {
  const answer = await fetch(`${urls[1]}/storage/v1/object/public/${bucket}/a${query}`)
  const text = await answer.text()
  return answer.ok ? text : answer.status
}

/** Reads until the other one has it in memory. */
async function heat(text: string): Promise<void> {
  await until(async () => (await read()) === text, 'the other one has heard')
  for (let times = 0; times < 5; times++) expect(await read()).toBe(text)
}

/** Uploads each text, and returns the versions. */
async function uploaded(...texts: string[]): Promise<string[]> {
  const versions: string[] = []
  for (const text of texts) {
    await change('PUT', `/object/${bucket}/a`, text)
    versions.push(String((await change('GET', `/object/info/${bucket}/a`)).version))
  }
  return versions
}

async function newBucket(settings: object): Promise<void> {
  bucket = `b-${randomUUID()}`
  await change('POST', '/bucket', { name: bucket, public: true, ...settings })
}

describe.each([
  ['small', 'one', 'two'],
  ['large', 'x'.repeat(200_000), 'y'.repeat(200_000)],
])('a %s object that the other one has in memory', (_, one, two) => {
  beforeEach(() => newBucket({ versioning_status: 'ENABLED' }))

  it('is the version before, once its own is deleted for good', async () => {
    const [first, second] = await uploaded(one, two)
    await heat(two)
    expect([await read(`?versionId=${first}`), await read(`?versionId=${second}`)]).toEqual([one, two])
    await change('DELETE', `/object/${bucket}/a?versionId=${second}`)
    expect(await read(`?versionId=${second}`)).toBe(404)
    await heat(one)
    expect(await read(`?versionId=${first}`)).toBe(one)
  })

  it('is gone once it is deleted, though there by its id, and back once it is restored', async () => {
    const [first, second] = await uploaded(one, two)
    await heat(two)
    await change('DELETE', `/object/${bucket}/a`)
    expect(await read(`?versionId=${second}`)).toBe(two)
    await until(async () => (await read()) === 404, 'the other one has heard')
    await change('POST', '/versions/restore', { bucket, path: 'a', version_id: first })
    await heat(one)
  })

  it('is what it was, once its folder is restored by time', async () => {
    await uploaded(one)
    const { items } = await change('GET', `/versions/${bucket}/a`)
    // No earlier than it was made, and before the next: by the clock that has counted it.
    const at = new Date(Date.parse(Object(items)[0].created_at) + 1).toISOString()
    await until(() => Date.now() > Date.parse(at), 'that moment is over')
    await uploaded(two)
    await heat(two)
    const report = await change('POST', '/versions/restore', { bucket, prefix: '', at })
    expect(report).toMatchObject({ restored: 1, unavailable: 0, next: null })
    await heat(one)
  })

  it('is gone in the trash, and back out of it', async () => {
    await newBucket({ trash_days: 7 })
    await uploaded(one)
    await heat(one)
    await change('DELETE', `/object/${bucket}/a`)
    await until(async () => (await read()) === 404, 'the other one has heard')
    await change('POST', '/trash/restore', { bucket, path: 'a' })
    await heat(one)
  })
})
