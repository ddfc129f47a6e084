import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { newFolder, removeFolder, strongroom } from '../support/command.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

// What commands do to backups is seen by REST.

let folder: string
let server: TestServer
beforeAll(async () => {
  folder = await newFolder()
  server = await startTestServer({ STORAGE_BACKUP_TARGET: join(folder, 'backups') })
  await server.createBucket('box', { versioning_status: 'ENABLED' })
  for (const body of ['a', 'b']) await server.request('PUT', '/object/box/a', { body })
})
afterAll(async () => {
  await server.close()
  await removeFolder(folder, [])
})

const command = async (...args: string[]) => {
  const { host, port, superuser } = inject('postgres')
  const [{ name } = { name: '' }] = await server.admin<{ name: string }[]>`select current_database() as name`
  const env = { DATABASE_URL: `postgres:///${name}`, PGHOST: host, PGPORT: String(port), PGUSER: superuser }
  return strongroom(['backup', ...args], {
    cwd: folder,
    env: { ...env, STORAGE_DATA_DIR: server.dataDir, STORAGE_BACKUP_TARGET: join(folder, 'backups') },
  })
}
const ask = async (path: string, method = 'GET') => {
  const response = await server.request(
    method,
    `/storage/v1/backup${path}`,
    method === 'POST' ? { body: {} } : {},
  )
  return (await response.json()) as Record<string, unknown> & { items: Record<string, unknown>[] }
}
const backUp = async () => {
  const id = String((await ask('', 'POST')).id)
  await until(async () => (await ask(`/${id}`)).status === 'completed', 'the backup has ended')
  return id
}

it('a drill is noted, with what it has found', async () => {
  const id = await backUp()
  const good = await command('drill', '--folder', folder)
  expect([good.code, good.stderr]).toEqual([0, ''])
  expect(good.stdout).toContain('has answered 2 of 2 objects and versions rightly')
  await rm(join(folder, 'backups', id, 'rows/inline_bytes.ndjson'))
  expect((await command('drill', '--folder', folder)).code).toBe(1)
  const { items } = await ask('?kind=drill')
  expect(items).toMatchObject([
    { kind: 'drill', parent: id, status: 'failed', error: expect.any(String) },
    { kind: 'drill', parent: id, status: 'completed', object_count: 1, damaged: 0, error: null },
  ])
}, 120_000)

it('a backup that a command deletes is gone for REST, too', async () => {
  const id = await backUp()
  const { code, stdout } = await command('delete', id)
  expect([code, stdout]).toEqual([0, `Backup ${id} is gone from ${join(folder, 'backups')}.\n`])
  expect(await ask(`/${id}`)).toMatchObject({ code: 'NoSuchBackup' })
})
