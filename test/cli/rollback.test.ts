import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pino from 'pino'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { startEmbedded } from '../../src/database/embedded/embedded-postgres.ts'
import { migrate } from '../../src/database/migrations/migrate.ts'
import { newestSchema } from '../../src/database/migrations/schema-version.ts'
import { INLINE_BUCKET } from '../../src/model/location.ts'
import { loadKeys } from '../../src/server/keys.ts'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { asSuperuser } from '../support/superuser.ts'

const DRIZZLE = fileURLToPath(new URL('../../drizzle', import.meta.url))
const logger = pino({ level: 'silent' })

/** A former version, from before the upgrade. */
const FORMER = '11111111-1111-4111-8111-111111111111'

let folder: string
let dataDir: string
/** What the tables are like that the test begins with: those of one migration before. */
let older: string
const commands: Command[] = []

beforeEach(async () => {
  folder = await newFolder()
  dataDir = join(folder, 'storage-data')
  await mkdir(dataDir)
  const { entries } = JSON.parse(await readFile(join(DRIZZLE, 'meta/_journal.json'), 'utf8'))
  older = entries.at(-2).tag
  const embedded = await startEmbedded({ clusterDir: join(dataDir, 'postgres'), logger })
  await migrate({ ...embedded.connection, username: embedded.superuser }, logger, { through: older })
  await asSuperuser(dataDir, async (sql) => {
    await sql`insert into storage.buckets (id, name, versioning_status) values ('before', 'before', 'ENABLED')`
    await sql`insert into storage.inline_bytes (version, bytes) values (${FORMER}, 'x')`
    await sql`
      insert into storage.object_versions (
        kind, bucket_id, name, object_id, version, bytes_bucket, version_number, is_versioned, valid_from, archived_at, object_row)
      values (
        'version', 'before', 'kept.txt', gen_random_uuid(), ${FORMER}, ${INLINE_BUCKET}, 1, true, now(), now(),
        '{"metadata": {"size": 1}}')`
  })
  await embedded.stop()
})
afterEach(() => removeFolder(folder, commands.splice(0)))

async function serve() {
  const server = new Command(['serve'], { cwd: folder, env: { STORAGE_PORT: '0' } })
  commands.push(server)
  const url = await server.url()
  const { serviceKey } = await loadKeys(dataDir, { jwtSecret: undefined, signingSecret: undefined })
  const headers = { authorization: `Bearer ${serviceKey}` }
  const send = async (method: string, path: string, body: string | null = null) =>
    (await fetch(`${url}${path}`, { method, headers, body })).status
  const stop = async () => {
    server.signal('SIGTERM')
    await server.ended
  }
  return { server, send, stop }
}

const rollback = () => strongroom(['rollback'], { cwd: folder })

it('brings back what was before an upgrade, while nobody has written', async () => {
  const { server, send, stop } = await serve()
  expect(server.stdout).toMatch(
    /the database is kept as it was, [\d.]+ MB: `strongroom rollback` brings it back/,
  )
  expect(await send('GET', '/bucket/before')).toBe(200)
  const beside = await rollback()
  expect(beside.stderr).toMatch(/Another Strongroom \(pid \d+\) already uses/)
  await stop()
  // Another start that only reads changes nothing about it.
  const again = await serve()
  expect(again.server.stdout).not.toContain('is kept as it was')
  await again.stop()

  const { code, stdout, stderr } = await rollback()
  expect([code, stderr]).toEqual([0, ''])
  expect(stdout).toContain(`tables of ${older}`)
  const embedded = await startEmbedded({ clusterDir: join(dataDir, 'postgres'), logger })
  try {
    const [row] = await asSuperuser(
      dataDir,
      (sql) => sql`
      select (select count(*)::int from storage.strongroom_migrations) as made, (select id from storage.buckets) as bucket`,
    )
    const { entries } = JSON.parse(await readFile(join(DRIZZLE, 'meta/_journal.json'), 'utf8'))
    expect(row).toEqual({ made: entries.length - 1, bucket: 'before' })
  } finally {
    await embedded.stop()
  }
  expect((await rollback()).stderr).toMatch(/nothing was kept/)
})

it('refuses once somebody has written, and says where; the next start forgets it', async () => {
  const first = await serve()
  expect(await first.send('POST', '/object/before/a.txt', 'a')).toBe(201)
  await first.stop()
  const { code, stderr } = await rollback()
  expect(code).toBe(1)
  expect(stderr).toMatch(/would be lost: .*1 in storage\.events.*1 in storage\.objects/)
  expect(existsSync(join(dataDir, 'postgres.before-upgrade'))).toBe(true)
  const second = await serve()
  expect(await second.send('GET', '/object/before/a.txt')).toBe(200)
  await second.stop()
  expect(existsSync(join(dataDir, 'postgres.before-upgrade'))).toBe(false)
})

it('refuses once somebody has deleted a former version for good, and changed nothing else', async () => {
  const { send, stop } = await serve()
  expect(await send('DELETE', `/object/before/kept.txt?versionId=${FORMER}`)).toBe(204)
  await stop()
  const { code, stderr } = await rollback()
  expect(code).toBe(1)
  expect(stderr).toMatch(
    /has deleted former versions for good, 1: their rows would come back without their bytes/,
  )
})

it('is what a start names that finds tables of a newer version', async () => {
  const { stop } = await serve()
  await stop()
  const embedded = await startEmbedded({ clusterDir: join(dataDir, 'postgres'), logger })
  await asSuperuser(
    dataDir,
    (sql) => sql`
    insert into storage.strongroom_migrations (hash, created_at) values ('newer', (select max(created_at) + 1000 from storage.strongroom_migrations))`,
  )
  await embedded.stop()
  const { code, stdout, stderr } = await strongroom(['serve'], { cwd: folder, env: { STORAGE_PORT: '0' } })
  expect(code).toBe(1)
  expect(`${stdout}${stderr}`).toMatch(
    new RegExp(`is of a newer Strongroom than this one, which knows its tables up to ${newestSchema()}`),
  )
})
