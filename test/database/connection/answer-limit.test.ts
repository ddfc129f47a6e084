import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type postgres from '#postgres'
import { openDatabase } from '../../../src/database/connection/client.ts'
import { createTestDatabase } from '../../support/database.ts'
import { openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

const MOST = 30

let proxy: PostgresProxy
let server: TestServer

beforeAll(async () => {
  proxy = await openPostgresProxy()
  server = await startTestServer(
    { STORAGE_DATABASE_TIMEOUT: '500ms', STORAGE_MAX_REQUESTS: String(MOST), STORAGE_DATABASE_POOL: '3' },
    { databaseUrl: (name) => proxy.url(name) },
  )
  await server.createBucket('box', { public: true })
  await server.request('PUT', '/object/box/here.txt', { body: 'here' })
})

afterEach(() => {
  proxy.mode = 'pass'
  proxy.decide = undefined
})

afterAll(async () => {
  await server?.close()
  await proxy?.close()
})

type Send = (index: number) => Promise<Response>

const REQUESTS: [what: string, send: Send][] = [
  ['a read', () => server.request('GET', '/object/box/here.txt')],
  ['a small upload', (index) => server.request('PUT', `/object/box/small-${index}`, { body: 'x' })],
  [
    'a large upload',
    (index) => server.request('PUT', `/object/box/large-${index}`, { body: 'x'.repeat(300_000) }),
  ],
  ['a list', () => server.request('POST', '/object/list/box', { body: { prefix: '' } })],
  ['a deletion', () => server.request('DELETE', '/object/box', { body: { prefixes: ['absent'] } })],
  [
    'a resumable upload',
    () =>
      server.request('HEAD', '/upload/resumable/Ym94L2EvMDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAw', {
        headers: { 'tus-resumable': '1.0.0' },
      }),
  ],
]

it('a connection that comes about when nobody waits for it any more serves whoever comes next', async () => {
  const made = await createTestDatabase()
  const { sql, close } = openDatabase(proxy.url(made.name), { connections: 1, timeoutMs: 1000 })
  try {
    proxy.mode = 'hang'
    await expect(sql`select 1`).rejects.toMatchObject({ code: 'DatabaseUnavailable' })
    proxy.mode = 'pass'
    expect(await sql`select 2 as two`).toEqual([{ two: 2 }])
  } finally {
    await close()
    await made.drop()
  }
})

it('a transaction begins as it is asked to, such as one that only reads', async () => {
  const made = await createTestDatabase()
  const { sql, close } = openDatabase(proxy.url(made.name), { connections: 1, timeoutMs: 60_000 })
  try {
    const mode = (tx: postgres.TransactionSql) =>
      tx`select current_setting('transaction_read_only') as it`.then(([row]) => row?.it)
    expect([await sql.begin('read only', mode), await sql.begin(mode)]).toEqual(['on', 'off'])
  } finally {
    await close()
    await made.drop()
  }
})

it('connections that are lost in the middle of transactions are forgotten, however many', async () => {
  const limitMs = 1000
  const made = await createTestDatabase()
  const { sql, close } = openDatabase(proxy.url(made.name), { connections: 4, timeoutMs: limitMs })
  try {
    for (let round = 0; round < 12; round++) {
      let notice = () => {}
      const noticed = new Promise<void>((resolve) => {
        notice = resolve
      })
      let begun = 0
      const work = async (tx: postgres.TransactionSql) => {
        await tx`select 1`
        begun++
        await noticed // what works in it may go on for a while
      }
      const ended = Promise.allSettled([1, 2, 3, 4].map(() => sql.begin(work)))
      await until(() => begun === 4, 'all have begun')
      proxy.cutAll()
      expect((await ended).map(({ status }) => status)).toEqual(Array(4).fill('rejected'))
      notice()
    }
    // Longer than they might still be waited for.
    const end = performance.now() + 2 * limitMs
    await until(async () => {
      await sql.begin((tx) => tx`select 1`)
      return performance.now() > end
    }, 'nobody waits any more')
  } finally {
    await close()
    await made.drop()
  }
})

/** Too much to be read first, so that its row takes a transaction of several statements. */
const STREAMED = 'x'.repeat(300_000)

describe('a database that accepts and never answers', () => {
  it.each(REQUESTS)('leaves nobody without an answer: %s', async (what, send) => {
    proxy.mode = 'hang'
    const answers = await Promise.all(Array.from({ length: MOST }, (_, index) => send(index)))
    const expected = what === 'a resumable upload' ? 423 : 503 // clients forget an upload at all else
    for (const answer of answers) {
      expect([answer.status, answer.headers.has('retry-after')]).toEqual([expected, true])
      await answer.arrayBuffer()
    }
    proxy.mode = 'pass'
    await until(async () => (await server.request('GET', '/object/box/here.txt')).ok, 'reads work again')
    await until(
      async () => (await server.request('PUT', '/object/box/here.txt', { body: 'here' })).ok,
      'writes work again',
    )
  })

  it('piles up no requests, however long it lasts', async () => {
    proxy.mode = 'hang'
    for (let round = 0; round < 4; round++) {
      const sent = Array.from({ length: 2 * MOST }, (_, index) => REQUESTS[index % 2]?.[1](index))
      for (const answer of await Promise.all(sent)) expect(answer?.status).toBe(503)
    }
    expect((await server.request('GET', '/health/live')).status).toBe(200)
    expect(proxy.connections).toBeLessThan(12)
    proxy.mode = 'pass'
    await until(
      async () => (await server.request('PUT', '/object/box/here.txt', { body: 'here' })).ok,
      'writes work again',
    )
  })

  it.each([
    ['storage.put_object', 'x'],
    ['commit', STREAMED],
    ['storage.act_as', STREAMED],
  ])('in the middle of an upload (%s): 503, and the next one works', async (step, body) => {
    proxy.decide = (about) => {
      if (about.includes(step)) proxy.mode = 'hang'
      return undefined
    }
    const answer = await server.request('PUT', '/object/box/middle', { body })
    expect([answer.status, answer.headers.has('retry-after')]).toEqual([503, true])
    proxy.decide = undefined
    proxy.mode = 'pass'
    await until(
      async () => (await server.request('PUT', '/object/box/middle', { body: 'y' })).ok,
      'writes work again',
    )
    expect(await (await server.request('GET', '/object/box/middle')).text()).toBe('y')
  })

  it('longer than the limit, many times: no connection stays in a transaction', async () => {
    for (let round = 0; round < 4; round++) {
      proxy.decide = (about) => {
        if (about.includes('storage.act_as')) proxy.mode = 'hang'
        return undefined
      }
      expect((await server.request('PUT', `/object/box/round-${round}`, { body: STREAMED })).status).toBe(503)
      proxy.decide = undefined
      proxy.mode = 'pass'
    }
    await until(async () => {
      const [open] = await server.admin`
        select from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`
      return open === undefined
    }, 'all transactions have ended')
    expect((await server.request('PUT', '/object/box/after', { body: 'y' })).status).toBe(201)
  })
})
