import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Session } from '../../../src/database/connection/session.ts'
import { takeTurn } from '../../../src/database/connection/turns.ts'
import { uuidV7 } from '../../../src/lib/uuid.ts'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'

// What is asked of backups by REST (wire §11.1). Nobody makes them: this test has their turn.
let server: TestServer
let compat: Served
let disabled: Served
let turn: Session
beforeAll(async () => {
  server = await startTestServer()
  turn = await server.database.openSession()
  expect(await takeTurn(turn.sql, 'backup')).toBe(true)
  compat = await server.beside({ STORAGE_COMPAT: 'supabase' })
  disabled = await server.beside({ STORAGE_BACKUP_ENABLED: 'false' })
  await server.createBucket('a')
  await server.createBucket('b')
})
beforeEach(() => server.admin`delete from storage.backup_jobs`)
afterAll(async () => {
  await disabled.close()
  await compat.close()
  await turn.close()
  await server.close()
})

type Answer = { status: number; body: Record<string, unknown> }

const ask = async (
  method: string,
  path = '',
  body?: object,
  { token, at = server }: { token?: string | null; at?: Served } = {},
): Promise<Answer> => {
  const init = { ...(body && { body }), ...(token !== undefined && { token }) }
  const response = await at.request(method, `/storage/v1/backup${path}`, init)
  const text = await response.text()
  return { status: response.status, body: text === '' ? null : JSON.parse(text) }
}

/** A job that is there already. Returns its id. */
async function given(columns: Record<string, unknown> = {}, now = new Date()): Promise<string> {
  const id = uuidV7(now)
  const row = { id, kind: 'backup', type: 'full', status: 'completed', target: '/t', ...columns }
  await server.admin`insert into storage.backup_jobs ${server.admin(row)}`
  return id
}

const statusOf = async (id: string) =>
  (await server.admin`select status from storage.backup_jobs where id = ${id}`)[0]?.status

describe('a backup', () => {
  it('is asked for, read and listed', async () => {
    const made = await ask('POST', '', {
      type: 'incremental',
      buckets: ['a'],
      include_versions: false,
      include_trash: true,
      description: 'before the upgrade',
      retention_days: 7,
    })
    expect(made).toEqual({
      status: 202,
      body: {
        id: expect.stringMatching(/^[\da-f]{8}-[\da-f]{4}-7/),
        kind: 'backup',
        type: 'incremental',
        status: 'pending',
        target: server.config.backup.target,
        parent: null,
        description: 'before the upgrade',
        buckets: ['a'],
        include_versions: false,
        include_trash: true,
        progress: 0,
        object_count: 0,
        total_bytes: 0,
        damaged: 0,
        started_at: null,
        completed_at: null,
        expires_at: null,
        error: null,
        note: null,
        created_at: expect.any(String),
        created_by: 'service_role',
      },
    })
    expect(await ask('GET', `/${made.body.id}`)).toEqual({ ...made, status: 200 })
    expect(await ask('GET', `/${String(made.body.id).toUpperCase()}`)).toEqual({ ...made, status: 200 })
    expect(await ask('GET')).toEqual({ status: 200, body: { items: [made.body], next: null } })
  })

  it('is a full one of everything when nothing is said', async () => {
    expect(await ask('POST')).toMatchObject({
      status: 202,
      body: { type: 'full', buckets: null, include_versions: true, include_trash: false, description: '' },
    })
  })

  it.each(['pending', 'running', 'restoring'])(
    'is refused beside one that is %s, in both modes',
    async (status) => {
      await given({ status })
      expect(await ask('POST')).toMatchObject({ status: 409, body: { code: 'BackupRunning' } })
      expect(await ask('POST', '', {}, { at: compat })).toMatchObject({
        status: 400,
        body: { statusCode: '409', code: 'BackupRunning' },
      })
    },
  )

  it('is begun once of many that are asked for at the same moment', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask('POST')))
    expect(answers.map(({ status }) => status).sort()).toEqual([202, ...Array(19).fill(409)])
  })

  it('is refused where it is not enabled, and so is a restore; what there is can be read', async () => {
    const id = await given()
    const refused = { status: 409, body: { code: 'FeatureNotEnabled' } }
    expect(await ask('POST', '', {}, { at: disabled })).toMatchObject(refused)
    expect(await ask('POST', `/${id}/restore`, {}, { at: disabled })).toMatchObject(refused)
    expect((await ask('GET', `/${id}`, undefined, { at: disabled })).status).toBe(200)
  })

  it('of a bucket that is not there is refused', async () => {
    expect(await ask('POST', '', { buckets: ['a', 'nowhere'] })).toMatchObject({
      status: 404,
      body: { code: 'NoSuchBucket', message: expect.stringContaining('nowhere') },
    })
  })

  it.each<[string, object]>([
    ['body/type must be full or incremental', { type: 'some' }],
    ['body/buckets must name at least one bucket', { buckets: [] }],
    ['body/buckets must name at most 500 buckets', { buckets: Array(501).fill('a') }],
    ['body/description must have at most 1000 characters', { description: 'x'.repeat(1001) }],
    ['body/retention_days must be a whole number from 1 to 36500', { retention_days: 0 }],
    ['body/retention_days must be a whole number from 1 to 36500', { retention_days: 1.5 }],
    ['body must not have the field bucket: did you mean buckets?', { bucket: 'a' }],
  ])('is refused: %s', async (message, body) => {
    expect(await ask('POST', '', body)).toMatchObject({ status: 400, body: { message } })
  })

  it.each([['GET'], ['DELETE'], ['POST']])('that is not there is 404: %s', async (method) => {
    for (const id of [randomUUID(), 'x', '..%2f..', 'a'.repeat(2000)]) {
      const path = method === 'POST' ? `/${id}/restore` : `/${id}`
      expect(await ask(method, path)).toMatchObject({ status: 404, body: { code: 'NoSuchBackup' } })
    }
    const path = `/${randomUUID()}${method === 'POST' ? '/restore' : ''}`
    expect(await ask(method, path, undefined, { at: compat })).toMatchObject({
      status: 400,
      body: { statusCode: '404', code: 'NoSuchBackup' },
    })
  })
})

describe('the list', () => {
  it('has the newest first, page by page, of one kind or of both', async () => {
    const ids: string[] = []
    for (let i = 0; i < 5; i++) {
      const columns = i === 2 ? { kind: 'restore', type: null, status: 'restored' } : {}
      ids.unshift(await given(columns, new Date(Date.UTC(2026, 0, i + 1))))
    }
    const idsOf = ({ body }: Answer) => (body.items as { id: string }[]).map(({ id }) => id)
    expect(idsOf(await ask('GET'))).toEqual(ids)
    const first = await ask('GET', '?limit=3')
    expect([idsOf(first), first.body.next]).toEqual([ids.slice(0, 3), ids[2]])
    const second = await ask('GET', `?limit=3&cursor=${first.body.next}`)
    expect([idsOf(second), second.body.next]).toEqual([ids.slice(3), null])
    expect(idsOf(await ask('GET', '?kind=restore'))).toEqual([ids[2]])
    expect(idsOf(await ask('GET', '?kind=backup'))).toEqual(ids.toSpliced(2, 1))
  })

  it.each([
    ['limit=0', 'querystring/limit must be a whole number from 1 to 1000'],
    ['limit=1001', 'querystring/limit must be a whole number from 1 to 1000'],
    ['cursor=x', 'querystring/cursor must be the id of a backup or a restore'],
    ['kind=all', 'querystring/kind must be backup, restore or drill'],
  ])('refuses ?%s', async (query, message) => {
    expect(await ask('GET', `?${query}`)).toMatchObject({ status: 400, body: { message } })
  })
})

describe('the deletion of a backup', () => {
  it('takes it out of sight at once, and leaves the rest to a server', async () => {
    const id = await given()
    expect(await ask('DELETE', `/${id}`)).toEqual({ status: 204, body: null })
    expect((await ask('GET', `/${id}`)).status).toBe(404)
    expect((await ask('GET')).body).toEqual({ items: [], next: null })
    expect((await ask('DELETE', `/${id}`)).status).toBe(404)
    const [row] = await server.admin`select deleted_at from storage.backup_jobs where id = ${id}`
    expect(row?.deleted_at).not.toBeNull()
  })

  it('takes one back that nobody has begun', async () => {
    const { body } = await ask('POST')
    expect((await ask('DELETE', `/${body.id}`)).status).toBe(204)
    expect((await ask('POST')).status).toBe(202)
  })

  it.each(['running', 'restoring'])('is refused while it is %s', async (status) => {
    const id = await given({ status })
    expect(await ask('DELETE', `/${id}`)).toMatchObject({ status: 409, body: { code: 'BackupRunning' } })
    expect(await statusOf(id)).toBe(status)
  })

  it('is refused while another one builds on it, or it is being restored', async () => {
    const id = await given()
    const child = await given({ type: 'incremental', parent: id })
    expect(await ask('DELETE', `/${id}`)).toMatchObject({ status: 409, body: { code: 'BackupInUse' } })
    expect((await ask('DELETE', `/${child}`)).status).toBe(204)
    await given({ kind: 'restore', type: null, status: 'restoring', parent: id })
    expect(await ask('DELETE', `/${id}`)).toMatchObject({ status: 409, body: { code: 'BackupInUse' } })
    await server.admin`update storage.backup_jobs set status = 'restored' where kind = 'restore'`
    expect((await ask('DELETE', `/${id}`)).status).toBe(204)
  })
})

describe('a restore', () => {
  it('is asked for, and is a job of its own', async () => {
    const id = await given({ buckets: ['a', 'b'] })
    const made = await ask('POST', `/${id}/restore`, {
      mode: 'replace',
      buckets: ['a'],
      prefix: 'photos/',
      into_bucket: 'b',
      dry_run: true,
    })
    expect(made).toMatchObject({
      status: 202,
      body: {
        kind: 'restore',
        type: null,
        status: 'pending',
        target: '/t',
        parent: id,
        buckets: ['a'],
        mode: 'replace',
        prefix: 'photos/',
        into_bucket: 'b',
        dry_run: true,
      },
    })
    expect((await ask('GET', `/${made.body.id}`)).body).toEqual(made.body)
  })

  it('brings back what is missing of everything when nothing is said', async () => {
    const id = await given()
    expect(await ask('POST', `/${id}/restore`)).toMatchObject({
      status: 202,
      body: { mode: 'missing', buckets: null, prefix: '', into_bucket: null, dry_run: false },
    })
  })

  it.each(['failed', 'expired'])('is refused of one that is %s', async (status) => {
    const id = await given({ status })
    expect(await ask('POST', `/${id}/restore`)).toMatchObject({
      status: 409,
      body: { code: 'BackupIncomplete' },
    })
  })

  it('is refused of a restore, into no bucket, and of buckets that the backup has not', async () => {
    const id = await given({ buckets: ['a'] })
    const restore = await given({ kind: 'restore', type: null, status: 'restored', parent: id })
    expect((await ask('POST', `/${restore}/restore`)).body.code).toBe('NoSuchBackup')
    expect(await ask('POST', `/${id}/restore`, { buckets: ['a'], into_bucket: 'nowhere' })).toMatchObject({
      status: 404,
      body: { code: 'NoSuchBucket' },
    })
    expect(await ask('POST', `/${id}/restore`, { buckets: ['b'] })).toMatchObject({
      status: 400,
      body: { message: 'body/buckets b is not in the backup' },
    })
    expect(await ask('POST', `/${id}/restore`, { into_bucket: 'b' })).toMatchObject({
      status: 400,
      body: { message: 'body/into_bucket is for one bucket, which buckets names' },
    })
  })
})

describe('who is not the service', () => {
  const routes: [string, string][] = [
    ['POST', ''],
    ['GET', ''],
    ['GET', `/${randomUUID()}`],
    ['DELETE', `/${randomUUID()}`],
    ['POST', `/${randomUUID()}/restore`],
  ]

  it.each(routes)('is refused, in both modes: %s %s', async (method, path) => {
    for (const at of [server, compat]) {
      for (const role of ['anon', 'authenticated']) {
        const token = await server.token('me', role)
        expect(await ask(method, path, undefined, { token, at })).toMatchObject({ status: 403 })
      }
    }
    expect((await ask(method, path, undefined, { token: null })).status).toBe(401)
    expect((await ask(method, path, undefined, { token: null, at: compat })).status).toBe(400)
  })
})

describe('beside whoever asks for a thousand backups, and means none of them', () => {
  afterEach(() => server.admin`delete from storage.backup_jobs`)

  it('others are served, and one row is all that there is', async () => {
    const me = await server.token('me', 'authenticated')
    const bodies: (() => [object | undefined, string | undefined])[] = [
      () => [{}, undefined],
      () => [{ description: 'x'.repeat(60_000) }, undefined],
      () => [{ description: 'a\u0000b' }, undefined],
      () => [{ buckets: ['\u0000'] }, undefined],
      () => [{ buckets: Array(5000).fill('a') }, undefined],
      () => [{ description: 'x'.repeat(200_000) }, undefined],
      () => [{}, me],
    ]
    const statuses = new Map<number, number>()
    const attack = Array.from({ length: 10 }, async (_, attacker) => {
      for (let i = 0; i < 100; i++) {
        const [body, token] = bodies[(attacker + i) % bodies.length]?.() ?? [undefined, undefined]
        const { status } = await ask('POST', '', body, token === undefined ? {} : { token })
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      }
    })
    const innocent = async () => {
      for (let i = 0; i < 50; i++) {
        const put = await server.request('POST', `/object/a/${i}.txt`, { body: `bytes ${i}` })
        expect(put.status).toBe(201)
        const get = await server.request('GET', `/object/a/${i}.txt`)
        expect(await get.text()).toBe(`bytes ${i}`)
      }
    }
    await Promise.all([...attack, innocent()])
    expect(statuses.get(202)).toBe(1)
    expect([...statuses.keys()].sort()).toEqual([202, 400, 403, 409, 413])
    const [row] = await server.admin`
      select count(*)::int as count, max(length(description)) as longest from storage.backup_jobs`
    expect(row).toEqual({ count: 1, longest: 0 })
  })
})
