import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { sumOf } from '../../support/exposition.ts'
import { withPolicies } from '../../support/policies.ts'
import { scrape } from '../../support/scrape.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/** What nobody removes before its time (docs/versions.md, "Locks"), by REST. */

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer({ STORAGE_AUDIT: 'all' })
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { object_lock: true })
})
afterAll(() => server.close())

type Init = Parameters<TestServer['request']>[2]

const ask = (method: string, path: string, init?: Init) => server.request(method, `/storage/v1${path}`, init)

async function json(method: string, path: string, init?: Init): Promise<Record<string, unknown>> {
  const answer = await ask(method, path, init)
  const text = await answer.text()
  expect(answer.ok, text).toBe(true)
  return text === '' ? {} : JSON.parse(text)
}

async function refusal(method: string, path: string, init?: Init) {
  const answer = await ask(method, path, init)
  const { code, message } = (await answer.json()) as { code: string; message: string }
  return { status: answer.status, code, message }
}

const LOCKED = { status: 409, code: 'ObjectLocked' }

/** Uploads each text under the same name, and returns the versions. */
async function uploaded(name: string, ...texts: string[]): Promise<string[]> {
  const versions: string[] = []
  for (const body of texts) {
    await json('PUT', `/object/${bucket}/${name}`, { body })
    versions.push(String((await json('GET', `/object/info/${bucket}/${name}`)).version))
  }
  return versions
}

const textOf = async (name: string, version: string | undefined) =>
  (await ask('GET', `/object/${bucket}/${name}?versionId=${version}`)).text()

const inDays = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString()

const lock = (path: string, body: object) => json('PUT', `/lock/${bucket}/${path}`, { body })

describe('a bucket', () => {
  const settings = () => json('GET', `/bucket/${bucket}`)

  it('that has locks has versions', async () => {
    expect(await settings()).toMatchObject({
      versioning_status: 'ENABLED',
      object_lock: true,
      retention_days: null,
    })
  })

  it('gets them later', async () => {
    await server.createBucket('later')
    expect(await refusal('PUT', '/bucket/later', { body: { object_lock: true } })).toMatchObject({
      status: 400,
      code: 'InvalidParameter',
    })
    expect(await refusal('PUT', '/bucket/later', { body: { retention_days: 1 } })).toMatchObject({
      status: 400,
      message: 'retention_days need object_lock',
    })
    const body = { object_lock: true, retention_days: 3, versioning_status: 'ENABLED' }
    await json('PUT', '/bucket/later', { body })
    expect(await json('GET', '/bucket/later')).toMatchObject(body)
  })

  it('keeps them, and its days only grow', async () => {
    await json('PUT', `/bucket/${bucket}`, { body: { retention_days: 5 } })
    for (const body of [{ object_lock: false }, { retention_days: 4 }, { retention_days: null }])
      expect(await refusal('PUT', `/bucket/${bucket}`, { body })).toMatchObject(LOCKED)
    expect(
      await refusal('PUT', `/bucket/${bucket}`, { body: { versioning_status: 'SUSPENDED' } }),
    ).toMatchObject({ status: 400, code: 'InvalidParameter' })
    await json('PUT', `/bucket/${bucket}`, { body: { retention_days: 6 } })
    expect(await settings()).toMatchObject({ object_lock: true, retention_days: 6 })
  })

  it.each([0, 36_501, 1.5, 'x'])('has no %s days', async (days) => {
    const answer = await refusal('PUT', `/bucket/${bucket}`, { body: { retention_days: days } })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidRequest' })
  })

  it('that is empty is deleted', async () => {
    await json('DELETE', `/bucket/${bucket}`)
  })
})

describe('a lock', () => {
  it('is told of what is there, and of what was', async () => {
    const [first] = await uploaded('a', 'one', 'two')
    const none = { is_locked: false, locked_until: null, retain_until: null, legal_hold: false }
    expect(await json('GET', `/lock/${bucket}/a`)).toMatchObject(none)
    const until = inDays(2)
    expect(await lock(`a?versionId=${first}`, { retain_until: until })).toEqual({
      version_id: first,
      is_locked: true,
      locked_until: until,
      retain_until: until,
      legal_hold: false,
    })
    expect(await json('GET', `/lock/${bucket}/a?version=1`)).toMatchObject({ retain_until: until })
    expect(await json('GET', `/lock/${bucket}/a`)).toMatchObject(none)
    await json('PUT', `/bucket/${bucket}`, { body: { retention_days: 30 } })
    const { locked_until } = await json('GET', `/lock/${bucket}/a`)
    expect(new Date(String(locked_until)).getTime()).toBeGreaterThan(Date.now() + 29 * 86_400_000)
  })

  it('only grows', async () => {
    await uploaded('a', 'one')
    await lock('a', { retain_until: inDays(2) })
    const until = inDays(3)
    await lock('a', { retain_until: until })
    await lock('a', { retain_until: until }) // it is so already
    for (const retain_until of [inDays(1), new Date(Date.now() + 1000).toISOString()])
      expect(await refusal('PUT', `/lock/${bucket}/a`, { body: { retain_until } })).toMatchObject(LOCKED)
    for (const retain_until of [inDays(-1), inDays(36_501)])
      expect(await refusal('PUT', `/lock/${bucket}/a`, { body: { retain_until } })).toMatchObject({
        status: 400,
        code: 'InvalidParameter',
      })
    expect(await json('GET', `/lock/${bucket}/a`)).toMatchObject({ retain_until: until })
  })

  it('that is a hold is taken off by no key', async () => {
    await uploaded('a', 'one')
    await lock('a', { legal_hold: false }) // it is so already
    expect(await lock('a', { legal_hold: true })).toMatchObject({ is_locked: true, locked_until: null })
    expect(await refusal('PUT', `/lock/${bucket}/a`, { body: { legal_hold: false } })).toMatchObject(LOCKED)
    expect(await lock('a', { retain_until: inDays(1) })).toMatchObject({ legal_hold: true })
  })

  it.each([{}, { retain_until: 'tomorrow' }, { legal_hold: 'perhaps' }, { until: inDays(1) }])(
    'is not %j',
    async (body) => {
      await uploaded('a', 'one')
      expect(await refusal('PUT', `/lock/${bucket}/a`, { body })).toMatchObject({ status: 400 })
    },
  )

  it('is not for a bucket without object_lock', async () => {
    await server.createBucket(`${bucket}-2`, { versioning_status: 'ENABLED' })
    await json('PUT', `/object/${bucket}-2/a`, { body: 'one' })
    const body = { legal_hold: true }
    expect(await refusal('PUT', `/lock/${bucket}-2/a`, { body })).toMatchObject({ code: 'InvalidParameter' })
    expect(await json('GET', `/lock/${bucket}-2/a`)).toMatchObject({ is_locked: false, legal_hold: false })
  })

  it('is not for a marker, nor for what is not there', async () => {
    const [version] = await uploaded('a', 'one')
    const body = { legal_hold: true }
    expect(await refusal('PUT', `/lock/${bucket}/b`, { body })).toMatchObject({ code: 'NoSuchKey' })
    const missing = `/lock/${bucket}/a?versionId=${randomUUID()}`
    expect(await refusal('PUT', missing, { body })).toMatchObject({ status: 404, code: 'NoSuchVersion' })
    await json('DELETE', `/object/${bucket}/a`)
    expect(await refusal('PUT', `/lock/${bucket}/a`, { body })).toMatchObject({ status: 405 })
    expect(await lock(`a?versionId=${version}`, body)).toMatchObject({ version_id: version })
  })

  it('is put on by whoever may change the object, and seen by whoever sees it', async () => {
    const [version] = await uploaded('a', 'one', 'two')
    await uploaded('deleted', 'one')
    await json('DELETE', `/object/${bucket}/deleted`)
    const [former] =
      await server.admin`select version from storage.object_versions where bucket_id = ${bucket}
      and kind = 'version' and name = 'deleted'`
    const [owner, reader, stranger] = await Promise.all(
      ['owner', 'reader', 'x'].map((who) => server.token(who)),
    )
    const policies = `
      create policy "see" on storage.objects for select to authenticated
        using (auth.jwt() ->> 'sub' in ('owner', 'reader'));
      create policy "change" on storage.objects for update to authenticated using (auth.jwt() ->> 'sub' = 'owner')`
    await withPolicies(server.admin, policies, async () => {
      for (const path of [`a`, `a?versionId=${version}`, `deleted?versionId=${former?.version}`]) {
        const at = `/lock/${bucket}/${path}`
        const body = { retain_until: inDays(1) }
        expect(await refusal('PUT', at, { body, token: reader as string })).toMatchObject({
          status: 403,
          code: 'AccessDenied',
        })
        expect((await ask('GET', at, { token: reader as string })).status).toBe(200)
        for (const method of ['GET', 'PUT'])
          expect(
            (await ask(method, at, { token: stranger as string, ...(method === 'PUT' && { body }) })).status,
          ).toBe(404)
        await json('PUT', at, { body, token: owner as string })
      }
    })
    expect(await json('GET', `/lock/${bucket}/a?versionId=${version}`)).toMatchObject({ is_locked: true })
  })

  it('is in the audit log, and so is who was refused', async () => {
    const [version] = await uploaded('a', 'one')
    await lock('a', { legal_hold: true })
    await refusal('DELETE', `/object/${bucket}/a?versionId=${version}`)
    await until(async () => {
      const rows =
        await server.admin`select action, status from storage.audit_log where bucket = ${bucket} and path = 'a'`
      const told = rows.map(({ action, status }) => `${action} ${status}`)
      return told.includes('lock 200') && told.includes('delete 409')
    }, 'the log tells of both')
  })
})

describe('a version that is locked', () => {
  const ways: [string, (name: string, version: string) => Promise<unknown>][] = [
    ['DELETE', (name, version) => refusal('DELETE', `/object/${bucket}/${name}?versionId=${version}`)],
    ['emptying its bucket', () => refusal('POST', `/bucket/${bucket}/empty`)],
  ]
  it.each(ways)('is not removed by %s', async (_, remove) => {
    const [first, second] = await uploaded('a', 'one', 'two')
    await lock(`a?versionId=${first}`, { retain_until: inDays(1) })
    await lock('a', { legal_hold: true })
    for (const version of [first, second]) expect(await remove('a', version ?? '')).toMatchObject(LOCKED)
    expect([await textOf('a', first), await textOf('a', second)]).toEqual(['one', 'two'])
  })

  it('is left out when many are deleted', async () => {
    const [first, second, third] = await uploaded('a', 'one', 'two', 'three')
    await lock(`a?versionId=${second}`, { retain_until: inDays(1) })
    const prefixes = [first, second, third].map((versionId) => ({ path: 'a', versionId }))
    const rows = (await json('DELETE', `/object/${bucket}`, { body: { prefixes } })) as unknown as {
      version: string
    }[]
    expect(rows.map(({ version }) => version)).toEqual([first, third])
    expect(await textOf('a', second)).toBe('two')
  })

  it('is counted when somebody would remove it, and the log tells who', async () => {
    const told = async () =>
      sumOf((await scrape(server)).families, 'storage_lock_refusals_total', { by: 'request' })
    const before = await told()
    const [first, second] = await uploaded('a', 'one', 'two')
    for (const id of [first, second]) await lock(`a?versionId=${id}`, { legal_hold: true })
    const prefixes = [first, second, randomUUID()].map((versionId) => ({ path: 'a', versionId }))
    await json('DELETE', `/object/${bucket}`, { body: { prefixes } })
    await refusal('DELETE', `/object/${bucket}/a?versionId=${first}`)
    await refusal('PUT', `/lock/${bucket}/a`, { body: { legal_hold: false } })
    await json('DELETE', `/object/${bucket}/a`)
    expect((await told()) - before).toBe(4)
    const lines = server.logs.filter((line) => line.bucket === bucket && (line.locked || line.code))
    expect(lines).toMatchObject([
      { operation: 'storage.object.delete_many', role: 'service_role', status: 200, locked: 2 },
      { operation: 'storage.object.delete', status: 409, code: 'ObjectLocked' },
      { operation: 'storage.object.lock', status: 409, code: 'ObjectLocked' },
    ])
  })

  it('keeps its bucket from being deleted', async () => {
    await uploaded('a', 'one')
    await lock('a', { legal_hold: true })
    expect(await refusal('DELETE', `/bucket/${bucket}`)).toMatchObject({ code: 'ResourceNotEmpty' })
  })

  it('is overwritten, deleted, moved and brought back as any', async () => {
    const [first] = await uploaded('a', 'one')
    await lock('a', { legal_hold: true })
    await uploaded('a', 'two')
    await json('DELETE', `/object/${bucket}/a`)
    await json('POST', '/versions/restore', { body: { bucket, path: 'a', version_id: first } })
    await json('POST', '/object/move', { body: { bucketId: bucket, sourceKey: 'a', destinationKey: 'b' } })
    expect(await textOf('a', first)).toBe('one')
    expect(await refusal('DELETE', `/object/${bucket}/a?versionId=${first}`)).toMatchObject(LOCKED)
  })

  it('is the current one again when its marker is deleted', async () => {
    const [first] = await uploaded('a', 'one')
    await json('PUT', `/bucket/${bucket}`, { body: { retention_days: 1 } })
    await lock('a', { legal_hold: true })
    await json('DELETE', `/object/${bucket}/a`)
    const { items } = (await json('GET', `/versions/${bucket}/a`)) as { items: { version_id: string }[] }
    await json('DELETE', `/object/${bucket}/a?versionId=${items[0]?.version_id}`)
    expect(await (await ask('GET', `/object/${bucket}/a`)).text()).toBe('one')
    expect(await refusal('DELETE', `/object/${bucket}/a?versionId=${first}`)).toMatchObject(LOCKED)
  })

  it('is removed once its time is over', async () => {
    const [first] = await uploaded('a', 'one', 'two')
    await lock(`a?versionId=${first}`, { retain_until: inDays(1) })
    await server.admin`update storage.object_locks set retain_until = now() where version = ${first ?? ''}`
    await json('DELETE', `/object/${bucket}/a?versionId=${first}`)
    expect(await textOf('a', first)).toContain('NoSuchVersion')
  })
})
