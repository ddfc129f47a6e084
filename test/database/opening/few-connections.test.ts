import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Database, openDatabase } from '../../../src/database/connection/client.ts'
import { describeShortage, roomIn, whyLittleRoom, whyNoRoom } from '../../../src/database/connection/room.ts'
import { type Cluster, openCluster } from '../../support/blank-database.ts'
import { told } from '../../support/check-results.ts'
import { newFolder, removeFolder, strongroom } from '../../support/command.ts'
import { openEvents } from '../../support/event-stream.ts'
import { exercise } from '../../support/exercise.ts'
import { type OwnPostgres, startOwnPostgres } from '../../support/own-postgres.ts'
import { type Served, serveOn, startTestServer, type TestServer } from '../../support/server.ts'
import { TusRequests } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'

/** What waits for the only connection behind all others is not late, however long a busy machine takes for those. */
const PATIENT = { STORAGE_LIST_TIMEOUT: '1m', STORAGE_DATABASE_TIMEOUT: '2m' }

/** Fewer connections than the settings want, as small plans have. */
describe('a database that allows few connections', () => {
  let cluster: Cluster
  let login: string
  let url: string
  let folder: string
  beforeAll(async () => {
    folder = await newFolder()
    cluster = openCluster()
    login = await cluster.newLogin()
    await cluster.root.sql`grant strongroom_server to ${cluster.root.sql(login)}`
    const { host, port, database } = cluster.address(
      await cluster.newDatabase(`template ${inject('postgres').template}`),
    )
    url = `postgres://${login}@/${database}?host=${encodeURIComponent(host)}&port=${port}`
    const server = await serveOn(url)
    expect(server.logs.filter((line) => line.level >= 40)).toEqual([]) // it has no limit
    await server.close()
  })
  afterAll(async () => {
    await cluster?.close()
    await removeFolder(folder, [])
  })

  const allow = (connections: number) =>
    cluster.root.sql.unsafe(`alter role ${login} connection limit ${connections}`)
  async function limit(connections: number): Promise<void> {
    await allow(connections)
    await until(async () => (await sessions()) === 0, 'the last server has gone')
  }
  async function sessions(): Promise<number> {
    const [row] = await cluster.root.sql`
      select count(*)::int as count from pg_stat_activity where usename = ${login}`
    return row?.count
  }
  const check = () =>
    strongroom(['check'], { cwd: folder, env: { DATABASE_URL: url, STORAGE_DATA_DIR: folder } })

  it('is served by those, with a warning that has the number', async () => {
    await limit(6)
    const says =
      /^PostgreSQL allows 6 connections \(connection limit of the login\), and STORAGE_DATABASE_POOL=10 wants 16: .* Raise that limit$/
    expect(told(await check())['database room']).toEqual(['warning', expect.stringMatching(says)])
    const server = await serveOn({ DATABASE_URL: url, ...PATIENT })
    try {
      expect(server.logs.filter((line) => line.level >= 40)).toMatchObject([
        { level: 40, allowed: 6, wanted: 10, pool: 1, msg: expect.stringMatching(says) },
      ])
      expect(await crowd(server)).toEqual([])
      await exercise(server)
      expect(server.logs.filter((line) => line.level >= 50)).toEqual([])
    } finally {
      await server.close()
    }
  })

  it('is served by four at the least, who do all that a server does', async () => {
    await limit(4)
    const often = { STORAGE_CLEANUP_INTERVAL: '500ms', STORAGE_CLEANUP_GRACE: '1m' }
    const server = await serveOn({ DATABASE_URL: url, ...PATIENT, ...often })
    const passes = () => server.logs.filter(({ msg }) => msg === 'the cleanup has made a pass').length
    try {
      await server.request('POST', '/storage/v1/bucket', { body: { name: 'heard' } })
      const events = await openEvents(server, { query: '?bucket=heard' })
      await until(async () => {
        expect(await crowd(server)).toEqual([])
        return passes() > 0
      }, 'the cleanup makes a pass besides')
      await server.request('POST', '/storage/v1/object/heard/a', { body: 'x' })
      expect(await events.hears(1)).toEqual(['object.created a'])
      events.close()
      await server.request('POST', '/storage/v1/bucket/heard/empty')
      await server.request('DELETE', '/storage/v1/bucket/heard')
      const warnings = server.logs.filter((line) => line.level >= 40 && line.repair === undefined)
      expect(warnings).toMatchObject([{ allowed: 4, pool: 1 }])
      expect(await sessions()).toBeLessThanOrEqual(4)
    } finally {
      await server.close()
    }
  })

  it('is refused with fewer, with the number that is needed; a command does with them', async () => {
    await limit(3)
    const says =
      /^PostgreSQL allows 3 connections \(connection limit of the login\), and a server needs at least 4: /
    await expect(serveOn(url)).rejects.toThrow(says)
    expect(told(await check())['database room']).toEqual(['failed', expect.stringMatching(says)])
    mkdirSync(join(folder, 'objects'))
    const env = { DATABASE_URL: url, STORAGE_DATA_DIR: folder }
    const cleanup = await strongroom(['cleanup', '--dry-run'], { cwd: folder, env })
    expect([cleanup.code, cleanup.stderr]).toEqual([0, expect.not.stringContaining('"level":"warn"')])
  })

  it('is told of by check only when it is few, with the setting that fits', async () => {
    await limit(12)
    expect(told(await check())['database room']).toEqual([
      'warning',
      expect.stringMatching(/ allows 12 .* wants 16: .* or set STORAGE_DATABASE_POOL=6$/),
    ])
    await limit(16)
    expect(told(await check())).not.toHaveProperty(['database room'])
  })

  it('may be so while it is served: requests wait for the connections there are', async () => {
    await limit(-1)
    const server = await serveOn({ DATABASE_URL: url, ...PATIENT })
    try {
      await until(async () => (await sessions()) >= 3, 'it has what it cannot be without')
      // Of the three one may be the start's, and not yet the one by which resumable uploads are locked.
      await server.request('POST', '/storage/v1/bucket', { body: { name: 'locked' } })
      const resumable = await uploadInTwo(new TusRequests(server), { bucket: 'locked', name: 'a' })
      expect(resumable.status).toBe(204)
      await allow(1)
      const before = await sessions()
      expect(await crowd(server)).toEqual([])
      expect(await sessions()).toBe(before)
      await toldOnce(server, {
        pool: before - 2,
        msg: expect.stringContaining('too many connections for role'),
      })
      expect(await crowd(server)).toEqual([])

      await allow(-1)
      await until(async () => {
        expect(await crowd(server)).toEqual([])
        return (await sessions()) > before + 3
      }, 'the pool grows again')
      await toldOnce(server, {})
    } finally {
      await server.close()
    }
  })
})

/** Another client of the same PostgreSQL takes what there is. */
describe('connections that others take away', () => {
  let postgres: OwnPostgres
  let server: TestServer
  beforeAll(async () => {
    postgres = await startOwnPostgres({ max_connections: '30', superuser_reserved_connections: '0' })
    const { host, port } = postgres.place
    const databaseUrl = (name: string) =>
      `postgres://strongroom_server@/${name}?host=${encodeURIComponent(host)}&port=${port}`
    server = await startTestServer(PATIENT, { postgres: postgres.place, databaseUrl })
  })
  afterAll(async () => {
    await server?.close()
    await postgres?.remove()
  })

  it('are not missed by any request, and come back', async () => {
    /** Those of the pool, the oldest first, by what they were asked last. */
    const pids = async () => {
      const rows = await postgres.root.sql<{ pid: number }[]>`
        select pid from pg_stat_activity
        where usename = 'strongroom_server' and application_name = 'strongroom' and datname is not null
          and query !~ 'list|entries|resumable|turn' order by backend_start`
      return rows.map(({ pid }) => pid)
    }
    await until(async () => {
      expect(await crowd(server)).toEqual([])
      return (await pids()).length > 5
    }, 'the pool has grown')

    // All but one end, while nobody asks, and the other client is quicker.
    const before = await pids()
    await postgres.root.sql`select pg_terminate_backend(pid) from unnest(${before.slice(1)}::int[]) pid`
    const taken = await takeAll(postgres)
    expect(await crowd(server)).toEqual([])
    await toldOnce(server, { msg: expect.stringContaining('too many clients already') })
    expect((await pids()).length).toBeLessThan(before.length)

    await Promise.all(taken.map((client) => client.close()))
    await until(async () => {
      expect(await crowd(server)).toEqual([])
      return (await pids()).length >= before.length
    }, 'the pool grows again')
    await toldOnce(server, {})
  })

  it('may come and go all the time', async () => {
    let isOver = false
    const failures: string[] = []
    const load = async () => {
      while (!isOver) failures.push(...(await crowd(server)))
    }
    const loads = [load(), load()]
    for (let round = 0; round < 3; round++) {
      const taken = await takeAll(postgres)
      await Promise.all(taken.map((client) => client.close()))
    }
    isOver = true
    await Promise.all(loads)
    expect(failures).toEqual([])
    await toldOnce(server, {})
  })
})

/** What becomes of many requests at once, of all kinds: each that is no success. */
async function crowd(server: Served): Promise<string[]> {
  const bucket = `crowd-${randomUUID()}`
  await server.request('POST', '/storage/v1/bucket', { body: { name: bucket } })
  const tus = new TusRequests(server)
  const storage = (method: string, path: string, body?: string | object) =>
    server.request(method, `/storage/v1/${path}`, body === undefined ? {} : { body })
  const failures: string[] = []
  const note = async (what: string, response: Response) => {
    const text = await response.text()
    if (response.status >= 300) failures.push(`${what}: ${response.status} ${text}`)
  }
  await Promise.all(
    Array.from({ length: 16 }, async (_, index) => {
      const name = `o-${index}`
      await note('upload', await storage('POST', `object/${bucket}/${name}`, name))
      await Promise.all([
        storage('GET', `object/${bucket}/${name}`).then((response) => note('read', response)),
        storage('POST', `object/list/${bucket}`, { prefix: '' }).then((response) => note('list', response)),
        storage('PUT', `object/${bucket}/${name}`, 'x'.repeat(300_000)).then((response) =>
          note('large', response),
        ),
        uploadInTwo(tus, { bucket, name: `t-${index}` }).then((response) => note('resumable', response)),
      ])
    }),
  )
  await note('emptying', await storage('POST', `bucket/${bucket}/empty`))
  await note('deleting', await storage('DELETE', `bucket/${bucket}`))
  return failures
}

async function uploadInTwo(tus: TusRequests, at: { bucket: string; name: string }): Promise<Response> {
  const created = await tus.create(at, 5)
  return tus.patch(created.headers.get('location') ?? '', 0, 'hello')
}

/** Waits for the warning that PostgreSQL has no place, of which there must be one alone. */
async function toldOnce(server: Served, expected: object): Promise<void> {
  const warnings = () => server.logs.filter(({ msg }) => msg?.startsWith('PostgreSQL has no place'))
  await until(() => warnings().length > 0, 'there is a warning')
  expect(warnings()).toMatchObject([{ level: 40, wanted: 10, ...expected }])
}

/** Takes connections until PostgreSQL has no more. */
async function takeAll({ place: { host, port, superuser } }: OwnPostgres): Promise<Database[]> {
  const taken: Database[] = []
  for (let isRefused = false; !isRefused; ) {
    const one = openDatabase({ host, port, database: 'postgres', username: superuser }, { connections: 1 })
    taken.push(one)
    isRefused = await one.sql`select 1`.then(
      () => false,
      () => true,
    )
  }
  return taken
}

describe('the room of each process', () => {
  const login = (connections: number) => ({ connections, by: 'connection limit of the login' })

  it.each<[allowed: number, processes: number, pool: number, questions: number, spare: number]>([
    [100, 1, 10, 4, 14],
    [50, 1, 10, 4, 9],
    [16, 1, 10, 4, 0],
    [15, 1, 9, 4, 0],
    [7, 1, 1, 4, 0],
    [5, 1, 1, 2, 0],
    [4, 1, 1, 1, 0],
    [40, 3, 7, 4, 0],
    [97, 5, 10, 4, 0],
    [120, 3, 10, 4, 4],
  ])(
    'where %i are allowed to %i that want ten each, is a pool of %i, %i for questions, and %i to spare',
    (...numbers) => {
      const [connections, processes, pool, questions, spare] = numbers
      const room = roomIn(login(connections), { pool: 10, spare: 14, processes })
      expect(room).toEqual({ pool, questions, spare })
    },
  )

  it('is none when others have it all, which is told as such', () => {
    const reason = 'too many connections'
    expect(describeShortage({ has: 0, wanted: 10, reason })).toMatch(/ requests are refused, .* none of 10 /)
    expect(describeShortage({ has: 1, wanted: 10, reason })).toMatch(/ requests wait for the 1 of 10 /)
  })

  it('is too little with less than four for each', () => {
    expect(whyNoRoom(login(12), { pool: 10, spare: 14, processes: 3 })).toBeUndefined()
    expect(whyNoRoom(login(11), { pool: 10, spare: 14, processes: 3 })).toMatch(
      / and 3 processes \(STORAGE_WORKERS\) need at least 12: /,
    )
  })

  it('is told of unless all is wanted that there is, with what fits', () => {
    expect(whyLittleRoom(login(48), { pool: 10, spare: 14, processes: 3 })).toBeUndefined()
    expect(whyLittleRoom(login(47), { pool: 10, spare: 14, processes: 3 })).toMatch(
      / wants 48: .*, or set STORAGE_DATABASE_POOL=9$/,
    )
    expect(whyLittleRoom(login(5), { pool: 1, spare: 14, processes: 1 })).toMatch(
      / a pool of 1, and 2 for lists, .* Raise that limit$/,
    )
  })
})
