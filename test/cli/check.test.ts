import { mkdir, readdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectFailure, told } from '../support/check-results.ts'
import { Command, type Ended, newFolder, removeFolder, strongroom } from '../support/command.ts'

const SECRETS = {
  STORAGE_JWT_SECRET: 'the login secret of the environment, long enough',
  STORAGE_SIGNING_SECRET: 'the URL secret of the environment, long enough',
}

// Each of the three has a folder of its own, and none waits for what another one waits for.
describe.concurrent('strongroom check, before the first start', () => {
  let folder: string
  const run = (env: Record<string, string> = {}) => strongroom(['check'], { cwd: folder, env })
  beforeAll(async () => {
    folder = await newFolder()
  })
  afterAll(() => removeFolder(folder, []))

  it.sequential('says what will be made, and that no server was ever started there, makes nothing, and fails not', async () => {
    const ended = await run()
    expect(ended).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/\n\nAll is well, 1 with a warning\.\n$/),
    })
    expect(Object.keys(told(ended))).toEqual(['settings', 'data folder', 'secrets', 'database', 'files'])
    expect(ended.stdout.match(/the first start makes/g)).toHaveLength(4)
    expect(told(ended).database).toEqual([
      'warning',
      expect.stringMatching(/no server was ever started here/),
    ])
    expect(await readdir(folder)).toEqual([])
  })

  it.sequential('names STORAGE_DATA_DIR when no folder can be there', async () => {
    await writeFile(join(folder, 'file'), '')
    const ended = await run({ STORAGE_DATA_DIR: join(folder, 'file', 'data') })
    expectFailure(ended, 'data folder', /is not a folder; STORAGE_DATA_DIR names another/)
  })

  it.sequential('says that several servers need the same secrets, unless those are set', async () => {
    const shared = {
      DATABASE_URL: 'postgres://user:hunter2@127.0.0.1:1/db',
      STORAGE_BACKEND: 's3',
      STORAGE_S3_BUCKET: 'files',
      STORAGE_S3_ENDPOINT: 'http://127.0.0.1:1',
      STORAGE_S3_ACCESS_KEY: 'key',
      STORAGE_S3_SECRET_KEY: 'hunter2',
    }
    const [without, withOne, withBoth] = await Promise.all([
      run(shared),
      run({ ...shared, STORAGE_JWT_SECRET: SECRETS.STORAGE_JWT_SECRET }),
      run({ ...shared, ...SECRETS }),
    ])
    expect(told(without).secrets).toEqual([
      'warning',
      expect.stringMatching(/STORAGE_JWT_SECRET, STORAGE_SIGNING_SECRET; .* set it to the same on each$/),
    ])
    expect(told(withOne).secrets).toEqual([
      'warning',
      expect.stringMatching(/^not set: STORAGE_SIGNING_SECRET;/),
    ])
    expect(told(withBoth).secrets?.[0]).toBe('ok')
    for (const { stdout, stderr } of [without, withOne, withBoth]) {
      expect(stdout + stderr).not.toMatch(/hunter2|long enough/)
    }
  })
})

// In one folder and in this order: beside a running server, after it was killed, and with its files away.
describe.concurrent('strongroom check, where a server has run', () => {
  let place: string
  let server: Command
  const there = (env: Record<string, string> = {}) => strongroom(['check'], { cwd: place, env })
  const objects = () => join(place, 'storage-data', 'objects')

  beforeAll(async () => {
    place = await newFolder()
    server = new Command(['serve'], { cwd: place, env: { STORAGE_PORT: '0' } })
    await server.url()
  })
  afterAll(() => removeFolder(place, [server]))

  function expectAllWell(ended: Ended): void {
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    const states = Object.entries(told(ended)).map(([about, [state]]) => [about, state])
    const all = 'settings,data folder,secrets,database,database tables,database login,database write,files'
    expect(states).toEqual(all.split(',').map((about) => [about, 'ok']))
  }

  it.sequential('finds all well beside the running server, and leaves nothing behind', async () => {
    const before = await readdir(join(place, 'storage-data'))
    const ended = await there()
    expectAllWell(ended)
    expect(told(ended).database?.[1]).toContain('of the running server')
    expect(await readdir(join(place, 'storage-data'))).toEqual(before)
    expect(await readdir(objects())).toEqual([])
  })

  it.sequential('starts the database when no server runs, and stops it again', async () => {
    server.signal('SIGKILL')
    await server.ended
    const ended = await there()
    expectAllWell(ended)
    expect(told(ended).database?.[1]).toContain('started for this check')
    expect(server.postgres).toBeUndefined()
  })

  it.sequential.each(['check', 'cleanup', 'scrub'])(
    '%s stops it again though nobody reads on, quietly',
    async (name) => {
      const command = new Command([name], { cwd: place, env: { STORAGE_LOG_LEVEL: 'warn' } })
      command.child.stdout?.destroy()
      expect(await command.ended).toMatchObject({ code: 0, signal: null, stderr: '' })
      expect(server.postgres).toBeUndefined()
    },
  )

  it.sequential('asks for the disk of the files when their folder is gone, and does not make it anew', async () => {
    await rename(objects(), `${objects()}.away`)
    expectFailure(await there(), 'files', /is its disk mounted, and STORAGE_DATA_DIR right\?$/)
    expect(await readdir(join(place, 'storage-data'))).not.toContain('objects')
    await rename(`${objects()}.away`, objects())
  })

  it.sequential('says that the keys are damaged', async () => {
    await writeFile(join(place, 'storage-data', 'keys.json'), '{')
    expectFailure(await there(), 'secrets', /keys\.json is damaged\. Restore it from a backup/)
  })
})

describe.concurrent('strongroom check, with files from before', () => {
  it('looks at the backend of STORAGE_BACKEND_PREVIOUS too', async () => {
    const folder = await newFolder()
    await mkdir(join(folder, 'storage-data', 'objects'), { recursive: true })
    const env = {
      STORAGE_BACKEND: 's3',
      STORAGE_BACKEND_PREVIOUS: 'local',
      STORAGE_S3_BUCKET: 'files',
      STORAGE_S3_ENDPOINT: 'http://127.0.0.1:1',
      STORAGE_S3_ACCESS_KEY: 'key',
      STORAGE_S3_SECRET_KEY: 'secret',
    }
    const ended = await strongroom(['check'], { cwd: folder, env })
    await removeFolder(folder, [])
    expectFailure(
      ended,
      'store',
      /^Nothing answers at http:\/\/127\.0\.0\.1:1: .*STORAGE_S3_ENDPOINT right\?$/,
    )
    expect(told(ended)['previous files']?.[0]).toBe('ok')
  })
})
