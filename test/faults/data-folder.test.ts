import { chmod, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { cleanUp } from '../support/cleanup.ts'
import { IN_FILES, startTestServer, type TestServer } from '../support/server.ts'
import { canMount, mountSmallDisk, type SmallDisk } from '../support/small-disk.ts'
import { until } from '../support/wait.ts'
import { findDrift, NO_DRIFT } from './drift.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'
import { underLoad } from './under-load.ts'

const ROUNDS = isFull ? 10 : 1
const isRoot = process.getuid?.() === 0
const tally = new Tally('data folder')
let disk: SmallDisk | undefined
let dataDir: string
let server: TestServer

beforeAll(async () => {
  disk = canMount ? mountSmallDisk('size=64m') : undefined
  dataDir = disk?.folder ?? (await mkdtemp(join(tmpdir(), 'strongroom-folder-')))
  server = await startTestServer({ ...IN_FILES, STORAGE_DATA_DIR: dataDir })
  await server.createBucket('still')
  await server.request('PUT', '/object/still/here', { body: 'bytes' })
})
afterAll(async () => {
  await server?.close()
  if (disk) disk.remove()
  else await rm(dataDir, { recursive: true })
  tally.print()
  expect([tally.lost, tally.leaked]).toEqual([0, 0])
})

const objects = () => join(dataDir, 'objects')
let undo: (() => Promise<void>) | undefined
afterEach(async () => {
  await undo?.()
  undo = undefined
})

async function becomes(backend: 'ok' | 'failing'): Promise<void> {
  const wanted = { healthy: backend === 'ok', database: 'ok', backend }
  await until(
    async () => {
      const response = await server.request('GET', '/health')
      return JSON.stringify(await response.json()) === JSON.stringify(wanted)
    },
    `the health is ${JSON.stringify(wanted)}`,
  )
}

let count = 0

/** Takes the folder away while clients work, and checks all they were told once it is back. */
async function whileAway(takeAway: () => Promise<() => Promise<void>>, meanwhile: () => Promise<void>) {
  for (let round = 0; round < ROUNDS; round++) {
    await underLoad(server, `folder-${++count}`, tally, async (load) => {
      undo = await takeAway()
      await load.answers(503, 20)
      await becomes('failing')
      expect((await server.request('GET', '/health/live')).status).toBe(200)
      await meanwhile()
      await undo()
      undo = undefined
      await becomes('ok')
    })
  }
}

/** What the server answers to one upload of each kind. */
async function uploads(): Promise<{ status: number; code: string; retryAfter: boolean }[]> {
  const answers = []
  for (const [path, size] of [
    ['new', 5],
    ['new', 400_000],
    ['here', 5],
    ['here', 400_000],
  ] as const) {
    const response = await server.request('PUT', `/object/still/${path}`, { body: 'x'.repeat(size) })
    const { code } = (await response.json()) as { code: string }
    answers.push({ status: response.status, code, retryAfter: response.headers.has('retry-after') })
  }
  return answers
}

const REFUSED = Array(4).fill({ status: 503, code: 'S3Error', retryAfter: true })

describe('a data folder that has vanished', () => {
  it('refuses uploads and reads with 503, calls nothing lost, and serves again when it is back', {
    timeout: 120_000,
  }, async () => {
    await whileAway(
      async () => {
        const elsewhere = join(dataDir, 'elsewhere')
        await rename(objects(), elsewhere)
        return () => rename(elsewhere, objects())
      },
      async () => {
        expect(await uploads()).toEqual(REFUSED)
        const read = await server.request('GET', '/object/still/here')
        expect([read.status, read.headers.has('retry-after')]).toEqual([503, true])
        // Nothing has been made where the disk should be.
        expect((await readdir(dataDir)).sort()).toEqual(['elsewhere', 'keys.json'])
      },
    )
    expect(await (await server.request('GET', '/object/still/here')).text()).toBe('bytes')
  })
})

/** As root, modes mean nothing: then the whole disk must be made read-only. */
describe.skipIf(isRoot && !canMount)(
  'a data folder that is read-only (root needs the right to mount)',
  () => {
    async function makeReadOnly(): Promise<() => Promise<void>> {
      const small = disk
      if (small) {
        // Refused while a file is being written.
        await until(async () => {
          try {
            small.remount('ro')
            return true
          } catch {
            return false
          }
        }, 'the disk is read-only')
        return async () => small.remount('rw')
      }
      const entries = await readdir(objects(), { recursive: true, withFileTypes: true })
      const folders = entries
        .filter((entry) => entry.isDirectory())
        .map((entry) => join(entry.parentPath, entry.name))
      for (const folder of [objects(), ...folders]) await chmod(folder, 0o500)
      return async () => {
        for (const folder of [objects(), ...folders]) await chmod(folder, 0o700)
      }
    }

    it('refuses uploads with 503, gives out what it has, and takes uploads again by itself', {
      timeout: 120_000,
    }, async () => {
      await whileAway(makeReadOnly, async () => {
        expect(await uploads()).toEqual(REFUSED)
        expect(await (await server.request('GET', '/object/still/here')).text()).toBe('bytes')
        const copied = await server.request('POST', '/object/copy', {
          body: { bucketId: 'still', sourceKey: 'here', destinationKey: 'copy' },
        })
        expect(copied.status).toBe(503)
      })
    })

    it('lets objects be deleted; their bytes go once it can be written', async () => {
      await server.request('PUT', '/object/still/goes', { body: 'bytes' })
      undo = await makeReadOnly()
      expect((await server.request('DELETE', '/object/still/goes')).status).toBe(204)
      expect((await server.request('GET', '/object/still/goes')).status).toBe(404)
      expect((await findDrift(server)).pending).toHaveLength(1)
      await undo()
      undo = undefined
      await cleanUp(server)
      expect(await findDrift(server)).toEqual(NO_DRIFT)
    })
  },
)
