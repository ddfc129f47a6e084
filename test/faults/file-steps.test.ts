import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type FileFaults, type FileMishap, injectFileFaults } from '../support/file-faults.ts'
import { IN_FILES, startTestServer, type TestServer } from '../support/server.ts'
import { isFull } from './size.ts'
import { Aftermath, type Fault, failAtEachStep, roundsOf } from './steps/injection.ts'
import { OPERATIONS } from './steps/operations.ts'
import { Tally } from './tally.ts'

const tally = new Tally('failure at each call to the file system')
const aftermath = new Aftermath(tally)
let dataDir: string
let files: FileFaults
let server: TestServer

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'strongroom-steps-'))
  server = await startTestServer({ ...IN_FILES, STORAGE_FSYNC: 'true', STORAGE_DATA_DIR: dataDir })
  files = injectFileFaults(join(dataDir, 'objects'))
})
afterAll(async () => {
  files?.restore()
  await server?.close()
  await rm(dataDir, { recursive: true })
  tally.print()
  expect([tally.lost, tally.leaked]).toEqual([0, 0])
})

function fault(what: string, mishap: FileMishap): Fault {
  return {
    what,
    arm: (step) => files.arm(step, mishap),
    disarm: () => files.arm(0),
    get hasStruck() {
      return files.hasStruck
    },
    about: (step) => files.calls[step - 1] ?? 'no step',
    status: mishap.code === 'ENOSPC' ? 507 : 503,
    leavesDoubt: () => false,
    // Bytes of a small upload can stay when they cannot be removed either.
    leavesOnlyListed: mishap.kind !== 'lasting',
  }
}

const FAULTS = [
  fault('the disk is full', { code: 'ENOSPC', kind: 'undone' }),
  fault('the disk fails once', { code: 'EIO', kind: 'undone' }),
  fault('the disk has died', { code: 'EIO', kind: 'lasting' }),
  ...(isFull
    ? [
        fault('the disk stays full', { code: 'ENOSPC', kind: 'lasting' }),
        fault('the disk does it and says that it failed', { code: 'EIO', kind: 'done' }),
        fault('the disk has become read-only', { code: 'EROFS', kind: 'lasting' }),
      ]
    : []),
]

/** A move changes the row alone. */
const WITH_FILES = OPERATIONS.filter(({ what }) => !what.startsWith('a move'))

describe.each(WITH_FILES.map((operation, index) => [operation.what, operation, index] as const))(
  '%s that meets a failure at any of its calls to the disk',
  (_what, operation, index) => {
    it.each(roundsOf(FAULTS, index))(
      'is done, or not at all and says so: %s',
      { timeout: 120_000 },
      async (what, choose) => {
        const prefix = `file-${index}-${FAULTS.findIndex((one) => one.what === what) + 1}`
        const steps = await failAtEachStep(server, operation, prefix, choose, aftermath)
        expect(steps).toBeGreaterThanOrEqual(operation.what.startsWith('a delete of a ') ? 1 : 3)
      },
    )
  },
)

it('a move needs no disk', async () => {
  for (const operation of OPERATIONS.filter((one) => !WITH_FILES.includes(one))) {
    const one = fault('the disk has died', { code: 'EIO', kind: 'lasting' })
    const prefix = `move-${OPERATIONS.indexOf(operation)}`
    expect(await failAtEachStep(server, operation, prefix, () => one, aftermath)).toBe(0)
  }
})

it('of all that, a cleanup leaves what was acknowledged, and nothing else', { timeout: 600_000 }, () =>
  aftermath.settle(server),
)
