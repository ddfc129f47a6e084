import { existsSync, readFileSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type postgres from '#postgres'
import { type Keys, mintToken } from '../../src/server/keys.ts'
import { Command, newFolder, removeFolder } from '../support/command.ts'
import { asSuperuser } from '../support/superuser.ts'
import { until } from '../support/wait.ts'
import { besideInnocent } from './support/innocent.ts'
import { isFull } from './support/size.ts'

/*
 * The built-in PostgreSQL writes a log into the data folder. Whoever can send requests could fill the disk with it.
 */

const MB = 1024 * 1024

/** Of refused requests, one of each kind. */
const ROUNDS = isFull ? 100 : 20

let folder: string
let server: Command
let url: string
let keys: Keys
const commands: Command[] = []

const start = async () => {
  server = new Command(['serve'], { cwd: folder, env: { STORAGE_PORT: '0', STORAGE_CLEANUP_INTERVAL: '0s' } })
  commands.push(server)
  url = await server.url()
  keys = JSON.parse(await readFile(join(folder, 'storage-data/keys.json'), 'utf8'))
}

beforeAll(async () => {
  folder = await newFolder()
  await start()
})
afterAll(() => removeFolder(folder, commands))

const logFile = (name = 'server.log') => join(folder, 'storage-data/postgres', name)
const log = () => readFileSync(logFile(), 'utf8')
const sql = <T>(work: (sql: postgres.Sql) => Promise<T>) => asSuperuser(join(folder, 'storage-data'), work)

/** Its lines, without those that come with time. */
const said = () =>
  log()
    .split('\n')
    .filter((line) => !line.includes('checkpoint'))

/** Bytes of all logs together. */
const logged = () =>
  ['server.log', 'server.log.1']
    .map((name) => logFile(name))
    .reduce((sum, path) => sum + (existsSync(path) ? statSync(path).size : 0), 0)

const ask = (method: string, path: string, token: string, body?: string | object) =>
  fetch(`${url}/storage/v1${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': typeof body === 'string' ? 'text/plain' : 'application/json',
    },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })

it('refused requests leave nothing in it', async () => {
  expect(
    (await ask('POST', '/bucket', keys.serviceKey, { name: 'docs', policy: 'authenticated' })).status,
  ).toBe(201)
  expect((await ask('POST', '/object/docs/taken.txt', keys.serviceKey, 'mine')).status).toBe(201)
  const user = await mintToken(keys.jwtSecret, { role: 'authenticated', subject: 'somebody' }, 600)
  const statuses = new Set<number>()
  const before = said()
  await besideInnocent({ url, keys }, async () => {
    for (let i = 0; i < ROUNDS; i++) {
      for (const refused of [
        ask('POST', `/object/docs/${i}.txt`, keys.anonKey, 'no policy'),
        ask('PUT', '/object/docs/taken.txt', user, 'not his'),
        ask('POST', '/object/docs/taken.txt', user, 'there is one'),
        ask('POST', '/object/none/a.txt', user, 'no such bucket'),
        ask('POST', '/bucket', user, { name: `bucket-${i}` }),
        ask('POST', '/bucket', keys.serviceKey, { name: 'docs' }),
      ]) {
        statuses.add((await refused).status)
      }
    }
  })
  expect([...statuses].sort()).toEqual([403, 404, 409])
  expect(said()).toEqual(before)
})

it('statements of a caller that fail leave nothing in it', async () => {
  await sql(
    (sql) => sql`create policy "broken" on storage.objects for select to anon
      using (bucket_id = 'docs' and 1 / (length(name) - length(name)) = 1)`,
  )
  const before = said()
  expect((await ask('GET', '/object/authenticated/docs/taken.txt', keys.anonKey)).status).toBe(500)
  expect(said()).toEqual(before)
  await sql((sql) => sql`drop policy "broken" on storage.objects`)
  // It is no refusal, but a fault of the policy's: the server's own log has it.
  await until(() => server.stdout.includes('division by zero'), 'the server has logged it')
})

describe('faults are told', () => {
  it.each([
    ['53200', 503],
    ['53100', 507],
    ['58030', 500],
    ['XX001', 500],
  ])('by the server itself, those that one statement meets: SQLSTATE %s', async (code, status) => {
    await sql((sql) =>
      sql.unsafe(`
        create function public.fail() returns boolean language plpgsql as $$
        begin raise exception 'fault %', '${code}' using errcode = '${code}'; end $$;
        create policy "broken" on storage.objects for select to anon using (public.fail())`),
    )
    expect((await ask('GET', '/object/authenticated/docs/taken.txt', keys.anonKey)).status).toBe(status)
    await until(() => server.stdout.includes(`"message":"fault ${code}"`), 'the server has logged it')
    await sql((sql) => sql.unsafe('drop policy "broken" on storage.objects; drop function public.fail()'))
  })

  it('by PostgreSQL too, those that end a session or all of it', async () => {
    const [session] = await sql(
      (sql) => sql`select pid from pg_stat_activity where application_name = 'strongroom' limit 1`,
    )
    await sql((sql) => sql`select pg_terminate_backend(${Number(session?.pid)})`)
    await until(() => log().includes('terminating connection due to administrator command'), 'it is logged')
    const [other] = await sql(
      (sql) => sql`select pid from pg_stat_activity where application_name = 'strongroom' limit 1`,
    )
    process.kill(Number(other?.pid), 'SIGKILL')
    await until(() => log().includes(`(PID ${other?.pid}) was terminated by signal 9`), 'it is logged')
    await until(() => log().lastIndexOf('ready to accept') > log().lastIndexOf('signal 9'), 'it is back')
  })
})

describe('its size is bounded, whatever fills it', () => {
  const BOUND = 21 * MB

  /** Has PostgreSQL say that much, and waits until the log has been looked at since. */
  async function fill(megabytes: number): Promise<void> {
    await sql((sql) =>
      sql.unsafe(
        `do $$ begin for i in 1..${megabytes} loop raise log '%', repeat('x', ${MB}); end loop; end $$`,
      ),
    )
    await until(() => statSync(logFile()).size <= 10 * MB, 'the log is short again')
    expect(logged()).toBeLessThan(BOUND)
  }

  it('while it runs, and the newest lines stay', async () => {
    await fill(15)
    await fill(15)
    expect(statSync(logFile('server.log.1')).size).toBeGreaterThan(9 * MB)
    await sql((sql) => sql`do $$ begin raise log 'and this is new'; end $$`)
    await until(() => log().includes('and this is new'), 'it is written to the log that is there now')
  })

  it('over a kill -9 of the server, after which nobody looks, and a start', async () => {
    server.signal('SIGKILL')
    await server.ended
    await sql((sql) =>
      sql.unsafe(`do $$ begin for i in 1..25 loop raise log '%', repeat('x', ${MB}); end loop; end $$`),
    )
    expect(logged()).toBeGreaterThan(25 * MB)
    await start()
    expect(logged()).toBeLessThan(BOUND)
    await fill(15)
  })
})

it('nobody who has a caller’s role makes temporary tables', async () => {
  await sql(async (sql) => {
    for (const role of ['anon', 'authenticated', 'service_role', 'strongroom_server']) {
      const making = sql.begin(async (tx) => {
        await tx.unsafe(`set local role ${role}`)
        await tx`create temporary table objects (name text)`
      })
      await expect(making, role).rejects.toMatchObject({ code: '42501' })
    }
  })
})
