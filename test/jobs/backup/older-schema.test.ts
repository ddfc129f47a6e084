import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openBackends } from '../../../src/backend/open.ts'
import { readConfig } from '../../../src/config/config.ts'
import { openDatabase } from '../../../src/database/connection/client.ts'
import { startEmbedded } from '../../../src/database/embedded/embedded-postgres.ts'
import { migrate } from '../../../src/database/migrations/migrate.ts'
import { newestSchema } from '../../../src/database/migrations/schema-version.ts'
import { openForRows } from '../../../src/database/opening/open-for-rows.ts'
import { FolderTarget } from '../../../src/jobs/backup/folder-target.ts'
import { restoreWhole } from '../../../src/jobs/backup/restore-whole.ts'
import { type BackupParts, runBackup } from '../../../src/jobs/backup/run.ts'
import { uuidV7 } from '../../../src/lib/uuid.ts'
import { InlineBackend } from '../../../src/storage/inline/inline-backend.ts'
import { newFolder, removeFolder, strongroom } from '../../support/command.ts'
import { createTestDatabase } from '../../support/database.ts'
import { openPostgresProxy } from '../../support/postgres-proxy.ts'
import { serveOn } from '../../support/server.ts'
import { asSuperuser } from '../../support/superuser.ts'

const DRIZZLE = fileURLToPath(new URL('../../../drizzle', import.meta.url))
/** The first that had backups. */
const OLDEST = '0037_backups'
const logger = pino({ level: 'silent' })
const { signal } = new AbortController()

/** Several databases are made, of which each takes its time on a busy machine. */
const SLOW = { timeout: 600_000 }

const FORMATS = { 'a copy of the database': true, 'rows alone': false }

describe('a backup of an older Strongroom', () => {
  let folder: string
  const ids = new Map<string, string>()
  const env = (name: string) => ({ STORAGE_DATA_DIR: join(folder, name), STORAGE_FSYNC: 'false' })
  const target = () => new FolderTarget({ root: join(folder, 'backups'), name: 'backups', fsync: false })

  beforeAll(async () => {
    folder = await newFolder()
    await mkdir(join(folder, 'backups'))
    await writeFile(join(folder, 'backups/strongroom-backups.json'), '{"format": 1}\n')
    const dataDir = join(folder, 'older')
    const clusterDir = join(dataDir, 'postgres')
    await mkdir(dataDir)
    const embedded = await startEmbedded({ clusterDir, logger, settings: { fsync: 'off' } })
    const address = { ...embedded.connection, username: embedded.superuser }
    await migrate(address, logger, { through: OLDEST })
    const database = openDatabase(address, { connections: 2 })
    const backend = new InlineBackend(await openBackends(readConfig(env('older'))), database)
    try {
      await database.sql`insert into storage.buckets (id, name) values ('box', 'box')`
      await database.sql`
        insert into storage.objects (bucket_id, name, owner_id) values ('box', 'row/1.txt', 'somebody')`
      await database.sql.unsafe(`create policy "of rows" on storage.objects for select to authenticated
        using ((storage.foldername(name))[1] = 'row')`)
      for (const [format, hasCopy] of Object.entries(FORMATS)) {
        const cluster: BackupParts['cluster'] = hasCopy
          ? { address: embedded.connection, folder: clusterDir }
          : null
        const parts = { database, backend, target: target(), cluster, scratchDir: folder, share: 1, logger }
        const id = uuidV7()
        await runBackup(parts, { id, job: null, parent: null, buckets: null, signal })
        ids.set(format, id)
      }
    } finally {
      await backend.close()
      await database.close()
      await embedded.stop()
    }
  }, SLOW.timeout)
  afterAll(() => removeFolder(folder, []))

  it.each(Object.keys(FORMATS))('as %s is restored, and its tables are migrated', SLOW, async (format) => {
    const name = format.replaceAll(' ', '-')
    const args = ['restore', '--from', join(folder, 'backups'), ids.get(format) ?? '']
    expect(await strongroom(args, { cwd: folder, env: env(name) })).toMatchObject({ code: 0 })
    const server = await serveOn(env(name))
    try {
      const listed = await server.request('POST', '/object/list/box', { body: { prefix: 'row' } })
      expect(await listed.json()).toMatchObject([{ name: '1.txt' }])
      const [row] = await asSuperuser(
        join(folder, name),
        (sql) => sql`
          select (select count(*)::int from storage.strongroom_migrations) as made,
            (select owner_id from storage.objects) as owner,
            exists (select from pg_policies where policyname = 'of rows') as "hasPolicy"`,
      )
      const { entries } = JSON.parse(await readFile(join(DRIZZLE, 'meta/_journal.json'), 'utf8'))
      expect(row).toEqual({ made: entries.length, owner: 'somebody', hasPolicy: true })
    } finally {
      await server.close()
    }
  })

  it('as rows alone goes through what a later migration does with rows', SLOW, async () => {
    const later = await withMigration(`update storage.objects set owner_id = owner_id || ', migrated'`)
    const dataDir = join(folder, 'later')
    const place = { databaseUrl: undefined, dataDir, logger }
    let owners: unknown
    await restoreWhole({
      target: target(),
      id: ids.get('rows alone') ?? '',
      dataDir,
      isOwnDatabase: false,
      openForRows: (schema) => openForRows(place, schema),
      openDatabase: async () => {
        const embedded = await startEmbedded({ clusterDir: join(dataDir, 'postgres'), logger })
        const address = { ...embedded.connection, username: embedded.superuser }
        await migrate(address, logger, { folder: later })
        const database = openDatabase(address, { connections: 2 })
        owners = [...(await database.sql`select owner_id from storage.objects`)]
        // Who goes on knows nothing of it.
        await database.sql`delete from storage.strongroom_migrations where created_at = (
          select max(created_at) from storage.strongroom_migrations)`
        const close = () => database.close().then(() => embedded.stop())
        return { ...database, close }
      },
      openBackend: async (database) =>
        new InlineBackend(await openBackends(readConfig(env('later'))), database),
      logger,
      signal,
    })
    expect(owners).toEqual([{ owner_id: 'somebody, migrated' }])
  })

  it(
    'as rows does not come into a database that has later tables, or buckets, and that one stays as it was',
    SLOW,
    async () => {
      const { name: database, admin, drop } = await createTestDatabase()
      const proxy = await openPostgresProxy()
      const restore = () =>
        strongroom(['restore', '--from', join(folder, 'backups'), ids.get('rows alone') ?? ''], {
          cwd: folder,
          env: { ...env('beside'), DATABASE_URL: proxy.url(database) },
        })
      try {
        const later = await restore()
        expect([later.code, later.stderr]).toEqual([
          1,
          expect.stringContaining(
            `are those of ${newestSchema()} already, and the rows are of before, ${OLDEST}`,
          ),
        ])
        await admin`insert into storage.buckets (id, name) values ('mine', 'mine')`
        await admin`insert into storage.backup_holds (name) values ('somebody')`
        await removeFolder(join(folder, 'beside'), [])
        const used = await restore()
        expect([used.code, used.stderr]).toEqual([1, expect.stringContaining('has buckets already')])
        expect((await restore()).stderr).toContain('has buckets already')
        expect(await admin`select id from storage.buckets`).toEqual([{ id: 'mine' }])
        expect(await admin`select name from storage.backup_holds`).toEqual([{ name: 'somebody' }])
      } finally {
        await proxy.close()
        await drop()
      }
    },
  )

  /** The migrations, and one more. */
  async function withMigration(statement: string): Promise<string> {
    const copy = join(folder, 'drizzle')
    await cp(DRIZZLE, copy, { recursive: true })
    const journal = JSON.parse(await readFile(join(copy, 'meta/_journal.json'), 'utf8'))
    const last = journal.entries.at(-1)
    journal.entries.push({ ...last, idx: last.idx + 1, when: last.when + 1000, tag: 'later' })
    await writeFile(join(copy, 'meta/_journal.json'), JSON.stringify(journal))
    await writeFile(join(copy, 'later.sql'), statement)
    return copy
  }
})
