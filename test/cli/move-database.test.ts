import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openUrl } from '../../src/database/connection/database-url.ts'
import { startEmbedded } from '../../src/database/embedded/embedded-postgres.ts'
import { openEmbedded } from '../../src/database/opening/connect.ts'
import { loadKeys } from '../../src/server/keys.ts'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { MAJORS, PACKAGE_OF_17 } from '../support/postgres-majors.ts'
import { type ProviderPostgres, startProviderPostgres } from '../support/provider-postgres.ts'
import { asSuperuser } from '../support/superuser.ts'
import { until } from '../support/wait.ts'

const has17 = MAJORS.some(({ major, isHere }) => major === 17 && isHere)
const LARGE = 'large '.repeat(10_000)
const ROWS = 20_000

/** A data folder, and servers on it one after the other. */
class Place {
  readonly commands: Command[] = []
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  get dataDir(): string {
    return join(this.folder, 'storage-data')
  }

  async serve(env: Record<string, string> = {}) {
    const server = new Command(['serve'], { cwd: this.folder, env: { STORAGE_PORT: '0', ...env } })
    this.commands.push(server)
    const url = await server.url()
    const { serviceKey } = await loadKeys(this.dataDir, { jwtSecret: undefined, signingSecret: undefined })
    const send = async (method: string, path: string, body: string | null = null) => {
      const headers = { authorization: `Bearer ${serviceKey}` }
      const response = await fetch(`${url}${path}`, { method, headers, body })
      return { status: response.status, text: await response.text() }
    }
    const stop = async () => {
      server.signal('SIGTERM')
      await server.ended
    }
    return { send, stop }
  }

  move(args: string[], env: Record<string, string> = {}): Command {
    const command = new Command(['move-database', ...args], { cwd: this.folder, env })
    this.commands.push(command)
    return command
  }

  refusedServe(env: Record<string, string> = {}) {
    return strongroom(['serve'], { cwd: this.folder, env: { STORAGE_PORT: '0', ...env } })
  }

  remove(): Promise<void> {
    return removeFolder(this.folder, this.commands)
  }
}

describe.skipIf(!has17)('strongroom move-database, to a PostgreSQL 17 of one’s own and back', () => {
  // In this order, in one place.
  let place: Place
  let provider: ProviderPostgres
  let url: string

  beforeAll(async () => {
    place = new Place(await newFolder())
    provider = await startProviderPostgres(17)
    await provider.newLogin('owner', 'createrole')
    await provider.admin`create database target owner owner`
    url = provider.url('target', 'owner')
  })
  afterAll(async () => {
    await place.remove()
    await provider.stop()
  })

  /** As the superuser, in a session that is over when it has answered. */
  const inTarget = async (query: string) => {
    const sql = openUrl(provider.url('target'), { max: 1, onnotice() {} })
    try {
      return [...(await sql.unsafe(query))]
    } finally {
      await sql.end({ timeout: 5 })
    }
  }

  it('refuses while a server runs', async () => {
    const server = await place.serve()
    await server.send('POST', '/bucket', '{"name":"docs"}')
    await server.send('POST', '/object/docs/small.txt', 'small')
    await server.send('POST', '/object/docs/large.txt', LARGE)
    await server.send('POST', '/object/docs/gone.txt', LARGE)
    await server.send('DELETE', '/object/docs/gone.txt')
    await server.send('POST', '/object/docs/thrown-away.txt', 'thrown away')
    await server.send('DELETE', '/object/docs/thrown-away.txt?permanent=false')
    await server.send('POST', '/bucket', '{"name":"kept","versioning_status":"ENABLED"}')
    for (const text of ['one', LARGE, 'three']) await server.send('PUT', '/object/kept/a', text)
    await server.send('DELETE', '/object/kept/a')
    const { code, stderr } = await place.move(['--to', url]).ended
    expect(code).toBe(1)
    expect(stderr).toMatch(/Another Strongroom \(pid \d+\) already uses/)
    await asSuperuser(place.dataDir, async (sql) => {
      await sql`create table public.members (id text)`
      await sql`create policy members on storage.objects for select using (exists (select from public.members m where m.id = owner_id))`
      await sql`insert into storage.objects (bucket_id, name) select 'docs', 'row/' || i from generate_series(1, ${ROWS}) i`
    })
    await server.stop()
  })

  it('moves nothing when what users have added finds no place, and says what is missing', async () => {
    const { code, stderr } = await place.move(['--to', url]).ended
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /does not take the policy members on storage\.objects \(it needs public\.members\).*--definitions/,
    )
    expect(await inTarget('select from storage.buckets')).toEqual([])
  })

  it('killed in the middle of it, leaves the source as it was and the target empty', async () => {
    const killed = place.move(['--to', url])
    await until(async () => {
      const [row] = await provider.admin`
        select from pg_stat_activity where datname = 'target' and query ~ '^insert into storage."objects"'`
      return row !== undefined || !killed.isRunning
    }, 'objects are written')
    killed.signal('SIGKILL')
    expect((await killed.ended).signal).toBe('SIGKILL')
    await until(async () => {
      const [row] = await provider.admin`select from pg_stat_activity where datname = 'target'`
      return row === undefined
    }, 'its session has ended')
    expect(await inTarget('select from storage.objects')).toEqual([])
    const server = await place.serve()
    expect(await server.send('GET', '/object/docs/small.txt')).toEqual({ status: 200, text: 'small' })
    await server.stop()
  })

  it('moves all of it, after which the old one is not served by mistake', async () => {
    const before = await place.serve()
    const { text: info } = await before.send('GET', '/object/info/docs/large.txt')
    const { text: audit } = await before.send('GET', '/audit')
    const { text: history } = await before.send('GET', '/versions/kept/a')
    const { text: trash } = await before.send('GET', '/trash?bucket=docs')
    await before.stop()
    await inTarget('create table public.members (id text); alter table public.members owner to owner')
    const { code, stdout, stderr } = await place.move(['--to', url]).ended
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/^ +20,002 {2}storage\.objects$/m)
    expect(stdout).toMatch(/^ +12 {2}storage\.audit_log$/m)
    expect(stdout).toMatch(/^ +5 {2}storage\.object_versions$/m)
    expect(stdout).toContain('  policy members on storage.objects\n')
    expect(stdout).toContain('  table public.members\n')
    expect(stdout).toContain('Start the servers with DATABASE_URL')

    const refused = await place.refusedServe()
    expect(refused.code).toBe(1)
    expect(`${refused.stdout}${refused.stderr}`).toMatch(
      /was moved to another PostgreSQL on \d{4}.*set DATABASE_URL/,
    )

    const server = await place.serve({ DATABASE_URL: url })
    expect(await server.send('GET', '/object/docs/small.txt')).toEqual({ status: 200, text: 'small' })
    expect(await server.send('GET', '/object/docs/large.txt')).toEqual({ status: 200, text: LARGE })
    expect((await server.send('GET', '/object/docs/gone.txt')).status).toBe(404)
    expect((await server.send('GET', '/object/info/docs/large.txt')).text).toBe(info)
    expect((await server.send('GET', '/audit')).text).toBe(audit)
    expect(JSON.parse(audit).items).toHaveLength(12)
    expect((await server.send('GET', '/versions/kept/a')).text).toBe(history)
    expect((await server.send('GET', '/trash?bucket=docs')).text).toBe(trash)
    const { items } = JSON.parse(history) as { items: { version_id: string; created_at: string }[] }
    for (const [index, text] of [undefined, 'three', LARGE, 'one'].entries()) {
      const read = await server.send('GET', `/object/kept/a?versionId=${items[index]?.version_id}`)
      expect(read).toMatchObject(text === undefined ? { status: 404 } : { status: 200, text })
    }
    // What comes next counts on.
    expect((await server.send('PUT', '/object/kept/a', 'four')).status).toBe(201)
    const [newest] = JSON.parse((await server.send('GET', '/versions/kept/a')).text).items
    expect(newest).toMatchObject({ version_number: 5, is_latest: true })
    expect(
      (await server.send('POST', '/trash/restore', '{"bucket":"docs","path":"thrown-away.txt"}')).status,
    ).toBe(200)
    expect((await server.send('POST', '/object/docs/new.txt', 'new')).status).toBe(201)

    const busy = await place.move(['--to', 'embedded'], { DATABASE_URL: url }).ended
    expect(busy.stderr).toMatch(/A Strongroom uses the database \(\d+ sessions.*stop all servers/)
    await server.stop()
  })

  it('says which option it is about when the target cannot be reached', async () => {
    const { code, stderr } = await place.move(['--to', 'postgres://nobody@127.0.0.1:1/none'], {
      DATABASE_URL: url,
    }).ended
    expect(code).toBe(1)
    expect(stderr).toMatch(/^strongroom: .*--to/)
  })

  it('refuses a target that has been used', async () => {
    const other = new Place(await newFolder())
    try {
      const server = await other.serve()
      await server.stop()
      const { code, stderr } = await other.move(['--to', url]).ended
      expect(code).toBe(1)
      expect(stderr).toMatch(/has rows of its own in storage\.buckets/)
    } finally {
      await other.remove()
    }
  })

  it('goes back, to a new built-in one', async () => {
    const { code, stdout, stderr } = await place.move(['--to', 'embedded', '--definitions', 'users.sql'], {
      DATABASE_URL: url,
    }).ended
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toContain('Start the server without DATABASE_URL.')
    expect(await readFile(join(place.folder, 'users.sql'), 'utf8')).toContain('create policy members')
    expect(existsSync(join(place.dataDir, 'postgres-18'))).toBe(true)
    const server = await place.serve()
    expect(await server.send('GET', '/object/docs/new.txt')).toEqual({ status: 200, text: 'new' })
    expect(await server.send('GET', '/object/docs/large.txt')).toEqual({ status: 200, text: LARGE })
    await server.stop()
  })
})

describe.skipIf(!has17)('a built-in database that PostgreSQL 17 has made', () => {
  it('is brought over by move-database, which the start names', async () => {
    const place = new Place(await newFolder())
    try {
      await mkdir(place.dataDir)
      const logger = pino({ level: 'silent' })
      const old = await startEmbedded({
        clusterDir: join(place.dataDir, 'postgres'),
        logger,
        overrides: { packageDir: PACKAGE_OF_17 },
      })
      const opened = await openEmbedded(old.connection, old.superuser, { connections: 1 }, logger)
      await opened.close()
      await asSuperuser(place.dataDir, async (sql) => {
        await sql`insert into storage.buckets (id, name) values ('old', 'old')`
        await sql`insert into storage.objects (bucket_id, name, metadata) values ('old', 'a', '{"size": 0}')`
        await sql`create function public.rule(a text) returns boolean language sql return a like 'a%'`
        await sql`create policy rule on storage.objects for select to anon using (public.rule(name))`
      })
      await old.stop()

      const refused = await place.refusedServe()
      expect(`${refused.stdout}${refused.stderr}`).toMatch(
        /was made by PostgreSQL 17, and this is PostgreSQL 18\..*strongroom move-database --to embedded --postgres/,
      )
      const wrong = await place.move(['--to', 'embedded', '--postgres', place.folder]).ended
      expect(wrong.stderr).toMatch(/is no package/)

      const { code, stdout, stderr } = await place.move(['--to', 'embedded', '--postgres', PACKAGE_OF_17])
        .ended
      expect([code, stderr]).toEqual([0, ''])
      expect(stdout).toContain('  policy rule on storage.objects\n')
      expect(stdout).toMatch(/The former database is in .*postgres-17: remove it once all is well/)
      expect(existsSync(join(place.dataDir, 'postgres.next'))).toBe(false)
      const server = await place.serve()
      expect(JSON.parse((await server.send('POST', '/object/list/old', '{"prefix":""}')).text)).toMatchObject(
        [{ name: 'a' }],
      )
      expect((await server.send('GET', '/bucket/left')).status).toBe(404)
      await server.stop()
    } finally {
      await place.remove()
    }
  })
})
