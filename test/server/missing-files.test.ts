import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadKeys } from '../../src/server/keys.ts'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { IN_FILES } from '../support/server.ts'

// In one folder and in this order.
describe('a server whose folder of files is gone', () => {
  let cwd: string
  const started: Command[] = []
  beforeAll(async () => {
    cwd = await newFolder()
  })
  afterAll(() => removeFolder(cwd, started))

  const env = { STORAGE_PORT: '0', ...IN_FILES }
  const dataDir = () => join(cwd, 'storage-data')
  const objects = () => join(dataDir(), 'objects')

  /** Serves while `work` runs, then ends in order. */
  async function serving(work: (send: Send) => Promise<void>): Promise<void> {
    const server = new Command(['serve'], { cwd, env })
    started.push(server)
    const url = await server.url()
    const secrets = { jwtSecret: undefined, signingSecret: undefined }
    const { serviceKey } = await loadKeys(dataDir(), secrets)
    const headers = { authorization: `Bearer ${serviceKey}` }
    await work((method, path, body) => fetch(`${url}${path}`, { method, headers, body: body ?? null }))
    server.signal('SIGTERM')
    expect(await server.ended).toMatchObject({ code: 0, stderr: '' })
  }
  type Send = (method: string, path: string, body?: string) => Promise<Response>

  it('starts as long as the database has no objects', async () => {
    await serving(async (send) => {
      expect((await send('POST', '/bucket', '{"name":"b"}')).ok).toBe(true)
    })
    await rm(objects(), { recursive: true })
    await serving(async (send) => {
      for (const name of ['one', 'two']) {
        expect((await send('POST', `/object/b/${name}`, 'bytes')).status).toBe(201)
      }
    })
  })

  it('refuses to start once it has some, asks for the disk, and makes no folder', async () => {
    await rename(objects(), `${objects()}.away`)
    const { code, stdout, stderr } = await strongroom(['serve'], { cwd, env })
    expect(stderr).toBe(
      `strongroom: The database has 2 objects, but the folder ${objects()} is missing: is its disk mounted? ` +
        'If the files are lost for good, make the folder and start again.\n',
    )
    expect([code, stdout]).toEqual([1, ''])
    expect(await readdir(dataDir())).not.toContain('objects')
    expect(await readdir(join(dataDir(), 'postgres'))).not.toContain('postmaster.pid')
  })

  it('serves everything when the folder is back', async () => {
    await rename(`${objects()}.away`, objects())
    await serving(async (send) => {
      expect(await (await send('GET', '/object/b/one')).text()).toBe('bytes')
    })
  })

  it('starts without the files where somebody has made the folder', async () => {
    await rm(objects(), { recursive: true })
    await mkdir(objects())
    await serving(async (send) => {
      expect((await send('GET', '/object/b/one')).status).toBe(404)
      expect((await send('POST', '/object/b/three', 'bytes')).status).toBe(201)
    })
  })
})
