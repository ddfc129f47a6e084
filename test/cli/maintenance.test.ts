import { randomUUID } from 'node:crypto'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connectBeside } from '../../src/database/opening/connect.ts'
import { findScrub, saveScrub } from '../../src/database/queries/scrubs.ts'
import { loadKeys } from '../../src/server/keys.ts'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { IN_FILES } from '../support/server.ts'

// In one folder and in this order: beside a running server, and after it was killed.
let folder: string
let server: Command
let url: string
let serviceKey: string
const env = { STORAGE_CLEANUP_GRACE: '0s', STORAGE_LOG_LEVEL: 'warn' }

beforeAll(async () => {
  folder = await newFolder()
  server = new Command(['serve'], { cwd: folder, env: { ...IN_FILES, STORAGE_PORT: '0' } })
  url = await server.url()
  const none = { jwtSecret: undefined, signingSecret: undefined }
  serviceKey = (await loadKeys(join(folder, 'storage-data'), none)).serviceKey
  await send('POST', '/bucket', '{"name":"hello"}')
  for (const name of ['1.txt', '2.txt', '3.txt']) await send('POST', `/object/hello/${name}`, name)
})
afterAll(() => removeFolder(folder, [server]))

async function send(method: string, path: string, body: string | null = null): Promise<Response> {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { authorization: `Bearer ${serviceKey}` },
    body,
  })
  if (!response.ok && method !== 'GET')
    throw new Error(`${path}: ${response.status} ${await response.text()}`)
  return response
}

const objects = () => join(folder, 'storage-data', 'objects')

async function files(): Promise<string[]> {
  const entries = await readdir(objects(), { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

async function plantOrphan(): Promise<void> {
  const [uid = ''] = await readdir(objects())
  const version = randomUUID()
  await mkdir(join(objects(), uid, version.slice(0, 2)), { recursive: true })
  await writeFile(join(objects(), uid, version.slice(0, 2), version), 'nobody knows me')
}

const run = (...args: string[]) => strongroom(args, { cwd: folder, env })

describe('beside a running server', () => {
  it('cleanup --dry-run tells what it would do, and does nothing', async () => {
    await plantOrphan()
    const { code, stdout, stderr } = await run('cleanup', '--dry-run')
    expect(stdout).toMatch(/^Dry run, nothing was changed/)
    expect(stdout).toMatch(/^ +1 {2}files that nothing named/m)
    expect(stderr).toContain('"repair":"unnamedBytes"')
    expect([code, (await files()).length]).toEqual([0, 4])
  })

  it('cleanup does it', async () => {
    const { code, stdout } = await run('cleanup')
    expect(stdout).toMatch(/^Done:/)
    expect(stdout).toMatch(/^ +1 {2}files that nothing named/m)
    expect([code, (await files()).length]).toEqual([0, 3])
    expect(await (await send('GET', '/object/hello/1.txt')).text()).toBe('1.txt')
  })

  it('scrub names what is damaged, and ends with 1', async () => {
    expect(await run('scrub')).toMatchObject({
      code: 0,
      stdout: '3 of 3 objects, 0 MB; 0 corrupted, 0 missing\n',
    })
    const [file = ''] = await files()
    await writeFile(file, 'XXXXX')
    const { code, stdout } = await run('scrub', '--bucket', 'hello', '--rate', '10MB')
    expect(stdout).toMatch(/^3 of 3 objects, 0 MB; 1 corrupted, 0 missing\ncorrupted {2}hello\/[123]\.txt\n$/)
    expect(code).toBe(1)
  })

  it('scrub says that it goes on with an interrupted one', async () => {
    const database = await connectBeside({
      databaseUrl: undefined,
      dataDir: join(folder, 'storage-data'),
      connections: 1,
      logger: pino({ level: 'silent' }),
      onLost: () => {},
    })
    try {
      const byHand = { bucket: undefined }
      const last = await findScrub(database, byHand)
      expect(last).toMatchObject({ checked: 3, isFinished: true })
      if (last) await saveScrub(database, byHand, { ...last, position: null, checked: 0, isFinished: false })
    } finally {
      await database.close()
    }
    const { stdout } = await run('scrub')
    expect(stdout).toMatch(
      /^Going on with the scrub that was interrupted; --restart begins anew.\n3 of 3 objects, /,
    )
    expect((await run('scrub')).stdout).toMatch(/^3 of 3 objects, /)
  })

  it('both say that there is no such bucket', async () => {
    const commands = ['cleanup', 'scrub'].map((command) => run(command, '--bucket', 'nope'))
    for (const { code, stderr } of await Promise.all(commands)) {
      expect([code, stderr]).toEqual([1, 'strongroom: Bucket not found\n'])
    }
  })
})

describe('without a server', () => {
  // It waits for the killed one to come back. Of those beside it none gets as far as the database.
  it.concurrent('cleanup works on what a killed one has left, and leaves nothing running', async () => {
    server.signal('SIGKILL')
    await server.ended
    await plantOrphan()
    const { code, stdout } = await run('cleanup', '--bucket', 'hello')
    expect(stdout).toMatch(/^ +1 {2}files that nothing named/m)
    expect([code, (await files()).length]).toEqual([0, 3])
    expect(server.postgres).toBeUndefined()
  })

  it.concurrent.each(['cleanup', 'scrub'])(
    '%s in an empty folder says where it should be run',
    async (command) => {
      const empty = await newFolder()
      try {
        const { code, stderr } = await strongroom([command], { cwd: empty, env })
        expect(stderr).toMatch(/^strongroom: There are no files in .*: run this where the server was started/)
        expect([code, await readdir(empty)]).toEqual([1, []])
      } finally {
        await removeFolder(empty, [])
      }
    },
  )

  it.concurrent('migrate-backend says what it lacks', async () => {
    const s3 = { STORAGE_S3_BUCKET: 'none', STORAGE_S3_ENDPOINT: 'http://127.0.0.1:9', NODE_NO_WARNINGS: '1' }
    const migrate = async (args: string, more = {}, cwd = folder) => {
      const { code, stderr } = await strongroom(['migrate-backend', ...args.split(' ')], {
        cwd,
        env: { ...env, ...more },
      })
      expect(code).toBe(1)
      return stderr
    }
    expect(await migrate('--from local --to s3')).toBe(
      'strongroom: STORAGE_S3_BUCKET is needed for S3: set it in the environment or .env\n',
    )
    expect(await migrate('--from s3 --to s3', s3)).toMatch(/must be different backends/)
    expect(await migrate('--from local --to disk', s3)).toMatch(/Allowed choices are local, s3/)
    expect(await migrate('--from local --to s3 --parallel 0', s3)).toMatch(/Use a whole number from 1 to 999/)
    const empty = await newFolder()
    try {
      expect(await migrate('--from local --to s3', s3, empty)).toMatch(
        /There are no files in .*: run this where/,
      )
    } finally {
      await removeFolder(empty, [])
    }
  })

  it.concurrent('scrub refuses a rate that is none', async () => {
    const { code, stderr } = await run('scrub', '--rate', 'fast')
    expect(stderr).toContain('Use a size such as 100MB')
    expect(code).toBe(1)
  })

  it.each([['cleanup'], ['scrub'], ['migrate-backend', '--from', 's3', '--to', 'local']])(
    '%s says why the store cannot be used, and where it is set',
    async (...command) => {
      const away = {
        STORAGE_BACKEND: 's3',
        STORAGE_S3_BUCKET: 'none',
        STORAGE_S3_ENDPOINT: 'http://127.0.0.1:9',
        STORAGE_S3_ACCESS_KEY: 'an-access-key',
        STORAGE_S3_SECRET_KEY: 'a-secret-key',
        STORAGE_S3_ATTEMPTS: '1',
        STORAGE_LOG_LEVEL: 'silent',
        NODE_NO_WARNINGS: '1',
      }
      expect(await strongroom(command, { cwd: folder, env: away })).toMatchObject({
        code: 1,
        stdout: '',
        stderr:
          'strongroom: The file store is not available; try again soon: Nothing answers at http://127.0.0.1:9: is the store running, and STORAGE_S3_ENDPOINT right?\n',
      })
    },
  )
})
