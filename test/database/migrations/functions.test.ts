import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { migrate as applyMigrations } from 'drizzle-orm/postgres-js/migrator'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type postgres from '#postgres'
import { readFunctionFiles } from '../../../src/database/migrations/function-files.ts'
import { MigrationError, migrate } from '../../../src/database/migrations/migrate.ts'
import { type Cluster, openCluster } from '../../support/blank-database.ts'
import { drizzleOver } from '../../support/drizzle.ts'

/** drizzle/functions/: the text that is true now (decision 0040). */

const FOLDER = fileURLToPath(new URL('../../../drizzle', import.meta.url))
/** The last migration of a database in which migrations made all functions. */
const LAST_BEFORE = 28
const logger = pino({ level: 'silent' })

let cluster: Cluster
const folders: string[] = []
beforeAll(() => {
  cluster = openCluster()
})
afterAll(async () => {
  await cluster.close()
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true })))
})

describe('functions', () => {
  it('are the same in a new database and in one of before', async () => {
    const before = await cluster.newDatabase()
    const { sql } = cluster.open(before)
    await applyMigrations(drizzleOver(sql), {
      migrationsFolder: await folderOfBefore(),
      migrationsSchema: 'storage',
      migrationsTable: 'strongroom_migrations',
    })
    await migrate(cluster.address(before), logger)
    const fresh = await migrated()
    expect(await definitions(sql)).toEqual(await definitions(fresh.sql))
  })

  it('are left alone at the next start', async () => {
    const { address, sql } = await migrated()
    const before = await versions(sql)
    expect(before.length).toBeGreaterThan(0)
    expect(await started(address)).toEqual([])
    expect(await versions(sql)).toEqual(before)
  })

  it('find whatever they name', async () => {
    const { sql } = await migrated()
    await sql.begin(async (tx) => {
      for (const { text } of readFunctionFiles(FOLDER).files) await tx.unsafe(text).simple()
    })
  })

  it('are made by no later migration, whose text the file would undo', async () => {
    const made = (text: string) =>
      [...text.matchAll(/create (?:or replace )?(?:function|trigger) ([\w.]+)/g)].map(([, name]) => name)
    const ours = readFunctionFiles(FOLDER).files.flatMap((file) => made(file.text))
    expect(ours).toContain('storage.read_object_now')
    const later = readdirSync(FOLDER).filter((name) => Number.parseInt(name, 10) > LAST_BEFORE)
    const texts = later.map((name) => readFileSync(join(FOLDER, name), 'utf8'))
    expect(texts.flatMap(made).filter((name) => ours.includes(name))).toEqual([])
  })

  it('have a revision that is raised with their text', async () => {
    const { files } = readFunctionFiles(FOLDER)
    const texts = files.map(({ name, sha256 }) => `${name} ${sha256}\n`).join('')
    const { sha256 } = JSON.parse(await readFile(join(FOLDER, 'meta/functions.json'), 'utf8'))
    // When it is another: raise the revision in drizzle/meta/functions.json by one, and put this one there.
    expect(createHash('sha256').update(texts).digest('hex')).toBe(sha256)
  })
})

describe('a changed text', () => {
  it('is run, and no other', async () => {
    const { address, sql } = await migrated()
    const before = await kept(sql)
    const folder = await changedFolder({ 'turns.sql': answering(1) })
    expect(await started(address, folder)).toEqual(['turns.sql'])
    expect(await answer(sql)).toBe(1)
    const after = await kept(sql)
    expect(after.filter((row) => !before.some((old) => old.sha256 === row.sha256))).toEqual([
      expect.objectContaining({ file: 'turns.sql', revision: revision() + 1 }),
    ])
    expect(await started(address, folder)).toEqual([])
  })

  it('is run once by servers that start at the same moment', async () => {
    const { address, sql } = await migrated()
    const folder = await changedFolder({ 'turns.sql': answering(1) })
    const all = await Promise.all([1, 2, 3, 4].map(() => started(address, folder)))
    expect(all.flat()).toEqual(['turns.sql'])
    expect(await answer(sql)).toBe(1)
  })

  it('leaves alone what users have done to policies, and whose functions are their own', async () => {
    const { address, sql } = await migrated()
    await sql`drop policy "strongroom: the signed-in read" on storage.objects`
    await sql`alter policy "strongroom: owners delete buckets" on storage.buckets using (false)`
    await sql.unsafe(
      `create or replace function storage.filename(name text) returns text language sql immutable return 'theirs'`,
    )
    const before = await definitions(sql)
    await sql`update strongroom.function_texts set sha256 = 'another'`
    expect(await started(address)).toEqual(readFunctionFiles(FOLDER).files.map((file) => file.name))
    expect(await definitions(sql)).toEqual(before)
  })

  it('that PostgreSQL refuses is named with its line, and leaves everything as it was', async () => {
    const { address, sql } = await migrated()
    const before = [await kept(sql), await definitions(sql)]
    const lines = (await readFile(join(FOLDER, 'functions/versions.sql'), 'utf8')).split('\n').length
    const folder = await changedFolder({
      'turns.sql': answering(1),
      'versions.sql': '\nselect nothing_such();',
    })
    await expect(migrate(address, logger, { folder })).rejects.toThrow(
      new MigrationError(
        `The database cannot be migrated: drizzle/functions/versions.sql:${lines + 1}: function nothing_such() does not exist`,
      ),
    )
    expect([await kept(sql), await definitions(sql)]).toEqual(before)
  })

  it('that PostgreSQL refuses takes the migrations back that came with it', async () => {
    const { address, sql } = await migrated()
    const folder = await changedFolder({ 'turns.sql': 'nonsense;' })
    await addMigration(folder, 'create table storage.later ()')
    await expect(migrate(address, logger, { folder })).rejects.toThrow(/functions\/turns\.sql/)
    expect(await sql`select to_regclass('storage.later') as later`).toEqual([{ later: null }])
    await writeFile(join(folder, 'functions/turns.sql'), answering(2))
    expect(await migrate(address, logger, { folder })).toBe(1)
    expect(await sql`select to_regclass('storage.later') as later`).toEqual([{ later: 'storage.later' }])
    expect(await answer(sql)).toBe(2)
  })

  it('is nothing to an older server, nor is a file that it has and the newer one has not', async () => {
    const { address, sql } = await migrated()
    const newer = await changedFolder({ 'turns.sql': answering(1) })
    expect(await started(address, newer)).toEqual(['turns.sql'])
    await sql`delete from strongroom.function_texts where file = 'versions.sql'`
    expect(await started(address)).toEqual([])
    expect(await answer(sql)).toBe(1)
  })

  it('is for its owner to run: another login is told who that is', async () => {
    const { address, sql } = await migrated()
    const before = await kept(sql)
    const login = await cluster.newLogin()
    await cluster.root.sql`grant strongroom_server to ${cluster.root.sql(login)}`
    const folder = await changedFolder({ 'turns.sql': answering(1) })
    const migrating = migrate({ ...address, username: login }, logger, { folder })
    await expect(migrating).rejects.toThrow(
      `The database cannot be migrated: the login ${login} may not create schemas in the database ${address.database}. Run \`strongroom migrate\` once`,
    )
    expect(await kept(sql)).toEqual(before)
    expect(await migrate({ ...address, username: login }, logger)).toBe(0)
  })

  it.each(['anon', 'authenticated', 'service_role'])('is not for %s to look at', async (role) => {
    const { sql } = await migrated()
    const looking = sql.begin(async (tx) => {
      await tx.unsafe(`set local role ${role}`)
      await tx`select * from strongroom.function_texts`
    })
    await expect(looking).rejects.toMatchObject({ code: '42501' })
  })
})

async function migrated() {
  const database = await cluster.newDatabase()
  const address = cluster.address(database)
  await migrate(address, logger)
  return { address, sql: cluster.open(database).sql }
}

/** Which files a start has run. */
async function started(address: ReturnType<Cluster['address']>, folder = FOLDER): Promise<string[]> {
  const ran: string[] = []
  await migrate(address, logger, { folder, onFunctions: (names) => ran.push(...names) })
  return ran
}

function revision(): number {
  return readFunctionFiles(FOLDER).revision
}

async function copyOfFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'strongroom-drizzle-'))
  folders.push(folder)
  await cp(FOLDER, folder, { recursive: true })
  return folder
}

/** The folder of a newer server, with something behind these texts. */
async function changedFolder(behind: Record<string, string>): Promise<string> {
  const folder = await copyOfFolder()
  for (const [name, text] of Object.entries(behind)) {
    const file = join(folder, 'functions', name)
    await writeFile(file, `${await readFile(file, 'utf8')}${text}`)
  }
  await writeFile(join(folder, 'meta/functions.json'), JSON.stringify({ revision: revision() + 1 }))
  return folder
}

async function addMigration(folder: string, statement: string): Promise<void> {
  await changeJournal(folder, (entries) => [
    ...entries,
    { ...entries.at(-1), idx: 9999, when: 1_795_278_000_000 + 9_999_000, tag: '9999_later' },
  ])
  await writeFile(join(folder, '9999_later.sql'), statement)
}

async function folderOfBefore(): Promise<string> {
  const folder = await copyOfFolder()
  await changeJournal(folder, (entries) => entries.filter((entry) => Number(entry.idx) <= LAST_BEFORE))
  return folder
}

type Entry = Record<string, unknown>

async function changeJournal(folder: string, change: (entries: Entry[]) => Entry[]): Promise<void> {
  const path = join(folder, 'meta/_journal.json')
  const journal = JSON.parse(await readFile(path, 'utf8'))
  await writeFile(path, JSON.stringify({ ...journal, entries: change(journal.entries) }))
}

const answering = (number: number) =>
  `create or replace function storage.answer() returns integer language sql return ${number};`

async function answer(sql: postgres.Sql): Promise<unknown> {
  const [row] = await sql`select storage.answer() as answer`
  return row?.answer
}

function kept(sql: postgres.Sql) {
  return sql`select * from strongroom.function_texts order by file`
}

/** Other ones whenever something has been made anew, though it be the same. */
function versions(sql: postgres.Sql) {
  return sql`
    select oid, xmin from pg_proc where pronamespace::regnamespace::text in ('storage', 'auth', 'strongroom')
    union all select oid, xmin from pg_trigger
    union all select oid, xmin from pg_policy order by oid`
}

/** What decides who may do what, and what then happens. */
function definitions(sql: postgres.Sql) {
  const ours = sql`('storage', 'auth', 'strongroom')`
  const rights = (acl: postgres.PendingQuery<postgres.Row[]>) =>
    sql`array(select format('%s %s %s', grantee::regrole, privilege_type, is_grantable) from aclexplode(${acl}) order by 1)`
  return sql`
    select oid::regprocedure::text as name, pg_get_functiondef(oid) as definition, proowner::regrole::text as owner,
      ${rights(sql`coalesce(proacl, acldefault('f', proowner))`)} as rights
    from pg_proc where pronamespace::regnamespace::text in ${ours}
    union all
    select format('%s on %s', tgname, tgrelid::regclass), pg_get_triggerdef(oid), tgenabled::text, '{}'
    from pg_trigger where not tgisinternal
    union all
    select format('%s on %s', policyname, tablename), format('%s %s %s %s', cmd, roles, qual, with_check), permissive, '{}'
    from pg_policies where schemaname in ${ours}
    union all
    select oid::regclass::text, relkind::text, relowner::regrole::text, ${rights(sql`relacl`)}
    from pg_class where relnamespace::regnamespace::text in ${ours}
    order by 1, 2`
}
