import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type postgres from '#postgres'
import { callerContext } from '../../src/database/as-caller.ts'
import type { Caller } from '../../src/model/caller.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

/** What PostgreSQL is told of a caller, in one value, and what servers of before tell it in nine (decision 0040). */

let server: TestServer
let bucketUid: string
const caller: Caller = {
  role: 'authenticated',
  subject: 'somebody',
  claims: { role: 'authenticated', sub: 'somebody', note: 'a "quoted"\u001f\n图 |,{}' },
  token: 'h.p.s',
  operation: 'storage.object.list',
  method: 'GET',
  path: '/object/authenticated/ours/a%20b?x=1',
  headers: { host: 'files.test', 'x-strange': 'ÿ"\\' },
  userBuckets: true,
}
/** As servers of before have them. */
const nine = [
  ...[caller.role, 'somebody', JSON.stringify(caller.claims), caller.token, caller.operation],
  ...[caller.method, caller.path, JSON.stringify(caller.headers), true],
]
const one = [callerContext(caller)]

beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket('ours', { policy: 'authenticated' })
  const token = await server.token('somebody')
  for (const name of ['a.txt', 'b/c.txt']) {
    await server.request('POST', `/object/ours/${name}`, { token, body: name })
  }
  const [bucket] = await server.admin`select uid from storage.buckets`
  bucketUid = bucket?.uid
})
afterAll(() => server.close())

describe('the caller', () => {
  it('is set as nine arguments would set it', async () => {
    const settings = await inTransaction(async (sql) => {
      await call(sql, 'act_as', [], one)
      return settled(sql)
    })
    expect(settings).toEqual({
      role: 'authenticated',
      'request.jwt.claims': JSON.stringify(caller.claims),
      'request.jwt.claim.sub': 'somebody',
      'request.jwt.claim.role': 'authenticated',
      'request.jwt': 'h.p.s',
      'request.method': 'GET',
      'request.path': caller.path,
      'request.headers': JSON.stringify(caller.headers),
      'storage.operation': 'storage.object.list',
      'storage.user_buckets': 'true',
      'storage.allow_delete_query': 'true',
      search_path: 'storage, public',
    })
    const before = await inTransaction(async (sql) => {
      await call(sql, 'act_as', [], nine)
      return settled(sql)
    })
    expect(before).toEqual(settings)
  })

  it('of a server that knows fewer fields has none of the others', async () => {
    const settings = await inTransaction(async (sql) => {
      await call(sql, 'act_as', [], ['anon\u001f'])
      return settled(sql)
    })
    expect(settings).toMatchObject({ role: 'anon', 'request.jwt.claims': '', 'storage.user_buckets': '' })
  })

  it('may be told more than a function knows', async () => {
    const settings = await inTransaction(async (sql) => {
      await call(sql, 'act_as', [], [`${one[0]}\u001ftenant`])
      return settled(sql)
    })
    expect(settings).toMatchObject({ role: 'authenticated', 'storage.user_buckets': 'true' })
  })

  it('cannot say two things in one', async () => {
    expect(() => callerContext({ ...caller, subject: 'x\u001f{"sub":"another"}' })).toThrow(
      expect.objectContaining({ code: 'InvalidParameter' }),
    )
    const shifted = nine.with(1, 'x\u001f{"sub":"another"}')
    await expect(inTransaction((sql) => call(sql, 'act_as', [], shifted))).rejects.toMatchObject({
      code: '22023',
    })
  })

  it.each([
    ['GET', '/object/authenticated/ours/a.txt'],
    ['POST', '/object/ours/new.txt'],
    ['POST', '/object/list/ours'],
    ['DELETE', '/object/ours/a.txt'],
  ])('whose token names such a subject is told so: %s %s', async (method, path) => {
    const token = await server.token('somebody\u001f{}')
    const body = path.includes('list') ? { prefix: '' } : 'x'
    const response = await server.request(method, path, { token, ...(method === 'POST' && { body }) })
    expect([response.status, await response.json()]).toEqual([
      400,
      expect.objectContaining({ code: 'InvalidParameter', message: expect.stringContaining('U+001F') }),
    ])
  })
})

describe('a server of before, beside this one, is answered the same by', () => {
  const upload = ['ours', 'new.txt', null, 'somebody', '{"mimetype": "text/plain"}', null, false]
  const unfinished = [false, 5, '', '{}', 60_000, null, 0, 1, 1, 60_000]

  it.each([
    ['read_object', ['caller', 'ours', 'a.txt']],
    ['read_object', ['policy', 'ours', 'missing']],
    ['visible_names_as', ['ours', ['a.txt', 'missing']]],
    ['list_folder_as', ['ours', '', '', 10, 0, 'name', 'asc']],
    ['list_page_as', ['ours', '', true, 10, null, null, 'name', 'asc']],
    ['readable_events', [[1, 2, 3]]],
    ['begin_upload', [null, null, ...upload]],
  ])('%s %j', async (name, args) => {
    const more = name === 'list_folder_as' ? [...args, false] : args
    const now = await inTransaction((sql) => call(sql, name, more, one))
    const before = await inTransaction((sql) => call(sql, name, args, nine))
    // What such a server does not know is no column for it.
    const columns = Object.keys(before[0] ?? {})
    const known = now.map((row) => Object.fromEntries(columns.map((column) => [column, row[column]])))
    expect(before).toEqual(known)
    expect(now).not.toEqual([])
  })

  it('list_folder_as with exact folders', async () => {
    const args = ['ours', 'B/', '', 10, 0, 'name', 'asc']
    const listed = (exact: boolean) =>
      inTransaction((sql) => call(sql, 'list_folder_as', args, [...nine, exact]))
    expect(await listed(true)).toEqual([])
    expect(await listed(false)).toEqual([expect.objectContaining({ name: 'c.txt' })])
  })

  it('begin_resumable_upload and ask_resumable_upload', async () => {
    const id = randomUUID()
    const asked = [id, 'ours', 'new.txt', false, null, false]
    const [old, now] = await inTransaction(async (sql) => {
      await call(sql, 'begin_resumable_upload', [id, bucketUid, ...upload, ...unfinished], nine)
      await sql`set local role none`
      const before = await call(sql, 'ask_resumable_upload', asked, nine)
      await sql`set local role none`
      return [before, await call(sql, 'ask_resumable_upload', asked, one)]
    })
    expect(old).toEqual([
      expect.objectContaining({ state: 'open', owner_id: 'somebody', owner_role: 'authenticated' }),
    ])
    expect(now).toEqual(old)
  })
})

/** As the server logs in; what is done is taken back. */
async function inTransaction<T>(work: (sql: postgres.TransactionSql) => Promise<T>): Promise<T> {
  const undo = new Error('undo')
  let result: T | undefined
  await server.database.sql
    .begin(async (sql) => {
      result = await work(sql)
      throw undo
    })
    .catch((error: unknown) => {
      if (error !== undo) throw error
    })
  return result as T // it was set, or something else was thrown
}

async function call(
  sql: postgres.TransactionSql,
  name: string,
  args: unknown[],
  context: unknown[],
): Promise<Record<string, unknown>[]> {
  const values = [...args, ...context]
  const places = values.map((_, index) => `$${index + 1}`).join(', ')
  return [...(await sql.unsafe(`select * from storage.${name}(${places})`, values as never[]))]
}

async function settled(sql: postgres.TransactionSql): Promise<unknown> {
  const [row] = await sql`
    select jsonb_object_agg(name, current_setting(name, true)) as settings from unnest(array[
      'role', 'request.jwt.claims', 'request.jwt.claim.sub', 'request.jwt.claim.role', 'request.jwt', 'request.method',
      'request.path', 'request.headers', 'storage.operation', 'storage.user_buckets', 'storage.allow_delete_query',
      'search_path']) as name`
  return row?.settings
}
