import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { createTestDatabase } from '../support/database.ts'
import { asSuperuser } from '../support/superuser.ts'
import { until } from '../support/wait.ts'

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))

const POLICY = `-- Everybody has a folder.
create policy "own folder" on storage.objects for all to authenticated
  using (bucket_id = 'docs' and (storage.foldername(name))[1] = (select auth.jwt()->>'sub'));
select policyname, permissive, 1 as one from pg_policies where policyname = 'own folder';
`

describe('strongroom sql', () => {
  let cwd: string
  let server: Command
  const sql = (...args: string[]) => strongroom(['sql', ...args], { cwd })
  const rows = async (query: string) =>
    (await sql('--json', '-c', query)).stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))

  beforeAll(async () => {
    cwd = await newFolder()
    server = new Command(['serve'], { cwd, env: { STORAGE_PORT: '0' } })
    await server.says('Strongroom is listening')
  })
  afterAll(() => removeFolder(cwd, [server]))

  it.concurrent('runs a file beside a running server, as who may make policies, and prints a table', async () => {
    await writeFile(join(cwd, 'policies.sql'), POLICY)
    const { code, stdout, stderr } = await sql('policies.sql')
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toBe(`CREATE POLICY
 policyname | permissive | one
------------+------------+-----
 own folder | PERMISSIVE |   1
(1 row)

`)
  })

  it('reads what comes on stdin', () => {
    const { status, stdout } = spawnSync(process.execPath, [MAIN, 'sql', '--json'], {
      cwd,
      input: "select 'é' as a, null as b, true as c, 1.5 as d, 9007199254740993 as e, '[1]'::jsonb as f",
      encoding: 'utf8',
    })
    expect([status, stdout]).toEqual([
      0,
      '{"a":"é","b":null,"c":true,"d":1.5,"e":"9007199254740993","f":[1]}\n',
    ])
  })

  it.concurrent('keeps nothing of a script of which one statement fails, and says which, where and why', async () => {
    await writeFile(
      join(cwd, 'bad.sql'),
      'create table public.half (a int);\n\nselect 1,\n  nowhere from half;\n',
    )
    const { code, stderr } = await sql('bad.sql')
    expect(code).toBe(1)
    expect(stderr).toBe(`strongroom: bad.sql:4:3: column "nowhere" does not exist (42703)
    nowhere from half;
    ^
Nothing was changed.
`)
    expect(await rows("select to_regclass('public.half') as half")).toEqual([{ half: null }])
  })

  it.concurrent('names the statement when PostgreSQL tells no position, with its detail', async () => {
    await writeFile(
      join(cwd, 'twice.sql'),
      'create table public.t (a int primary key);\ninsert into t values (1), (1)',
    )
    const { stderr } = await sql('twice.sql')
    expect(stderr).toContain('twice.sql:2:1: duplicate key value violates unique constraint "t_pkey" (23505)')
    expect(stderr).toContain('Detail: Key (a)=(1) already exists.')
  })

  it.concurrent('keeps what was done before an error if it is told to, or if the script commits itself', async () => {
    const failing = "select 'x'::int"
    const own = await sql('-c', `begin; create table public.own (); commit; ${failing}`)
    const each = await sql('--no-transaction', '-c', `create table public.each (); ${failing}`)
    for (const { code, stderr } of [own, each]) {
      expect(code).toBe(1)
      expect(stderr).not.toContain('Nothing was changed')
    }
    const tables =
      "select to_regclass('public.own') is not null as own, to_regclass('public.each') is not null as each"
    expect(await rows(tables)).toEqual([{ own: true, each: true }])
  })

  it.concurrent('runs what refuses a transaction, alone or with the option, and names that', async () => {
    expect(await sql('-c', 'vacuum')).toMatchObject({ code: 0, stdout: 'VACUUM\n' })
    const refused = await sql('-c', 'vacuum; vacuum')
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('--no-transaction')])
    expect((await sql('--no-transaction', '-c', 'vacuum; vacuum')).code).toBe(0)
  })

  it.concurrent('passes on what the database has to say besides, and escapes what could break a terminal', async () => {
    const { stdout, stderr } = await sql(
      '-c',
      "do $$ begin raise notice 'hello'; end $$; select e'a\\n\\x1b[1m' as b",
    )
    expect(stderr).toContain('NOTICE:  hello')
    expect(stdout).toContain('a\\n\\u001b[1m')
  })

  it.concurrent.each([
    ['\\d', 'Commands of psql'],
    ['copy pg_class to stdout', 'needs psql'],
    ['create temp table c (a int); copy c from stdin; select 1', 'needs psql'],
    ['selec', 'syntax error at or near "selec"'],
  ])('refuses %j with a sentence', async (text, sentence) => {
    const { code, stderr } = await sql('-c', text)
    expect([code, stderr]).toEqual([1, expect.stringContaining(sentence)])
    expect(stderr).not.toMatch(/\n {4}at /)
  })

  it.concurrent('advises the owner where ownership is missing, and not where a policy refuses', async () => {
    const { stderr } = await sql(
      '-c',
      "set local role anon; insert into storage.buckets (id, name) values ('a', 'a')",
    )
    expect(stderr).toContain('(42501)')
    expect(stderr).not.toContain('Hint')
  })

  it.concurrent('says that there is no such file, and takes no file beside --command', async () => {
    expect((await sql('nowhere.sql')).stderr).toBe('strongroom: There is no file nowhere.sql\n')
    expect((await sql('nowhere.sql', '-c', 'select 1')).stderr).toContain('in place of a file')
  })

  it('is ended by Ctrl-C, and its statement with it', async () => {
    const asleep = () =>
      asSuperuser(
        join(cwd, 'storage-data'),
        (sql) => sql`select from pg_stat_activity where query like 'select pg_sleep%'`,
      )
    const command = new Command(['sql', '-c', 'select pg_sleep(600)'], { cwd })
    await until(async () => (await asleep()).length === 1, 'it sleeps')
    command.signal('SIGINT')
    expect(await command.ended).toMatchObject({ code: 1, stderr: expect.stringContaining('57014') })
    expect(await asleep()).toHaveLength(0)
  })

  it('starts the database if no server runs, and stops it afterwards', async () => {
    server.signal('SIGTERM')
    await server.ended
    expect(await rows('select 1 as a')).toEqual([{ a: 1 }])
    expect(server.postgres).toBeUndefined()
  })

  it('says so where there is no database', async () => {
    const empty = await newFolder()
    const { code, stderr } = await strongroom(['sql', '-c', 'select 1'], { cwd: empty })
    expect([code, stderr]).toEqual([1, expect.stringContaining('There is no database')])
    await removeFolder(empty, [])
  })
})

describe('strongroom sql with DATABASE_URL', () => {
  it('logs in as that says, and tells who may change policies if that may not', async () => {
    const cwd = await newFolder()
    const { admin, name, drop } = await createTestDatabase()
    const { host, port, superuser } = inject('postgres')
    const sql = (text: string, login: string) => {
      const env = { DATABASE_URL: `postgres:///${name}`, PGHOST: host, PGPORT: String(port), PGUSER: login }
      return strongroom(['sql', '-c', text], { cwd, env })
    }
    try {
      await admin`create policy mine on storage.objects using (true)`
      const dropPolicy = 'drop policy mine on storage.objects'
      const refused = await sql(dropPolicy, 'strongroom_server')
      expect([refused.code, refused.stderr]).toEqual([
        1,
        expect.stringMatching(
          /must be owner of (?:relation|table) objects \(42501\)(?:.|\n)*Hint: .*DATABASE_URL/,
        ),
      ])
      expect(await sql(dropPolicy, superuser)).toMatchObject({ code: 0, stdout: 'DROP POLICY\n', stderr: '' })
      // The way to the database itself, where there are two, and a provider's parameters.
      const direct = `postgres:///${name}?channel_binding=disable&sslmode=disable`
      const ways = { DATABASE_URL: 'postgres://127.0.0.1:1/x', STORAGE_DATABASE_DIRECT_URL: direct }
      const login = { PGHOST: host, PGPORT: String(port), PGUSER: superuser }
      const there = await strongroom(['sql', '-c', 'select 1 as a'], { cwd, env: { ...ways, ...login } })
      expect([there.code, there.stderr, there.stdout]).toEqual([0, '', expect.stringContaining('(1 row)')])
      const env = { DATABASE_URL: 'postgres://user:secret@127.0.0.1:1/x' }
      const { code, stderr } = await strongroom(['sql', '-c', 'select 1'], { cwd, env })
      expect([code, stderr]).toEqual([1, expect.stringContaining('Nothing answers at 127.0.0.1:1')])
      expect(stderr).not.toContain('secret')
    } finally {
      await drop()
      await removeFolder(cwd, [])
    }
  })
})
