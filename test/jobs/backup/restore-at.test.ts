import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readConfig } from '../../../src/config/config.ts'
import { readLogStatus } from '../../../src/jobs/backup/log-folder.ts'
import { openTarget } from '../../../src/jobs/backup/open-target.ts'
import type { BackupTarget } from '../../../src/jobs/backup/target.ts'
import { newFolder, strongroom } from '../../support/command.ts'
import { type Served, serveOn } from '../../support/server.ts'
import { asSuperuser } from '../../support/superuser.ts'
import { until } from '../../support/wait.ts'

/** The log comes some time after what is in it. */
const SLOW = { timeout: 300_000 }

describe('a server with STORAGE_BACKUP_LOG', () => {
  let folder: string
  let server: Served
  let target: BackupTarget
  let settings: Record<string, string>
  beforeAll(async () => {
    folder = await newFolder()
    settings = {
      STORAGE_BACKUP_LOG: 'true',
      STORAGE_BACKUP_TARGET: join(folder, 'backups'),
      STORAGE_FSYNC: 'false',
    }
    server = await serveOn({ ...settings, STORAGE_DATA_DIR: join(folder, 'data') })
    target = await openTarget(join(folder, 'backups'), readConfig(settings), { forWriting: true })
  })
  afterAll(async () => {
    await server?.close()
    await target?.close()
    await rm(folder, { recursive: true, force: true })
  })

  it('can be restored as it was at any second since a backup: `restore --at`', SLOW, async () => {
    await server.request('POST', '/storage/v1/bucket', { body: { name: 'b' } })
    const model = new Map<string, Buffer>()
    const put = async (name: string, size: number) => {
      const body = randomBytes(size)
      const headers = { 'x-upsert': 'true' }
      const response = await server.request('POST', `/object/b/${name}`, { headers, body: body as never })
      expect(response.ok).toBe(true)
      model.set(name, body)
    }
    const remove = async (name: string) => {
      expect((await server.request('DELETE', `/object/b/${name}`)).ok).toBe(true)
      model.delete(name)
    }
    await until(async () => (await readLogStatus(target)) !== null, 'the log is followed')
    for (const name of ['large', 'large too', 'gone later']) await put(encodeURIComponent(name), 100_000)
    for (const name of ['small', 'small too']) await put(encodeURIComponent(name), 100)

    const asked = await server.request('POST', '/storage/v1/backup', { body: { type: 'full' } })
    expect(asked.status).toBe(202)
    const { id } = (await asked.json()) as { id: string }
    await until(async () => {
      const response = await server.request('GET', `/storage/v1/backup/${id}`)
      const { status, error } = (await response.json()) as { status: string; error: string | null }
      if (status === 'failed') throw new Error(String(error))
      return status === 'completed'
    }, 'the backup is complete')

    await put('large', 120_000)
    await put('small', 120)
    await put('new', 90_000)
    await remove('gone%20later')
    const at = await now()
    const expected = new Map(model)
    await put('large', 130_000)
    await put('small', 130)
    await remove('new')
    await put('later', 10)
    await until(async () => {
      // A server does so once a minute.
      await asSuperuser(join(folder, 'data'), (sql) => sql`select pg_switch_wal()`)
      return Date.parse((await readLogStatus(target))?.until ?? '') >= at.getTime()
    }, 'the log reaches the moment')

    const restored = join(folder, 'restored')
    const env = { ...settings, STORAGE_DATA_DIR: restored }
    const ended = await strongroom(['restore', '--at', at.toISOString()], { cwd: folder, env })
    expect(ended).toMatchObject({ code: 0, stdout: expect.stringContaining(at.toISOString()) })
    const again = await serveOn({ ...env, STORAGE_BACKUP_LOG: 'false' })
    try {
      const listed = await again.request('POST', '/object/list/b', { body: { prefix: '' } })
      const names = ((await listed.json()) as { name: string }[]).map(({ name }) => encodeURIComponent(name))
      expect(names.sort()).toEqual([...expected.keys()].sort())
      for (const [name, bytes] of expected) {
        const response = await again.request('GET', `/object/b/${name}`)
        expect([name, Buffer.from(await response.arrayBuffer()).equals(bytes)]).toEqual([name, true])
      }
    } finally {
      await again.close()
    }
  })

  it('refuses what is no time, and a backup beside it', async () => {
    const env = { ...settings, STORAGE_DATA_DIR: join(folder, 'another') }
    const odd = await strongroom(['restore', '--at', 'yesterday'], { cwd: folder, env })
    expect([odd.code, odd.stderr]).toEqual([1, expect.stringContaining('yesterday is not a time')])
    const both = await strongroom(['restore', 'x', '--at', '2026-11-28T10:15:00Z'], { cwd: folder, env })
    expect([both.code, both.stderr]).toEqual([1, expect.stringContaining('leave the id out')])
  })

  async function now(): Promise<Date> {
    const [row] = await asSuperuser(
      join(folder, 'data'),
      (sql) => sql`
      select ceil(extract(epoch from clock_timestamp()) * 1000)::float8 as now`,
    )
    return new Date(Number(row?.now))
  }
})
