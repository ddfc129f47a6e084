import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { describeWithPgbouncer, type Pgbouncer, type PoolMode, startPgbouncer } from '../support/pgbouncer.ts'
import { bytesFor, expectStored, MiB, PERSISTENTLY, startUpload, tusOptions } from '../support/tus.ts'
import { within } from '../support/wait.ts'
import { Load } from './load.ts'
import { newSeed } from './random.ts'
import { ServerProcesses } from './server-processes.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

const ROUNDS = isFull ? 10 : 1

/** Long enough for a machine that is busy with other work: three starts, and 6 MiB in chunks. In milliseconds. */
const ROUND_LIMIT_MS = 180_000

type Way = [what: string, mode: PoolMode, settings: (url: string, direct: string) => Record<string, string>]

const WAYS: Way[] = [
  ['a pooler that keeps sessions', 'session', (url) => ({ DATABASE_URL: url })],
  [
    'a pooler that shares sessions, and past it',
    'transaction',
    (url, direct) => ({ DATABASE_URL: url, STORAGE_DATABASE_DIRECT_URL: direct }),
  ],
]

const tally = new Tally('poolers')
afterAll(() => tally.print())

describeWithPgbouncer('what was acknowledged is there afterwards', () => {
  describe.each(WAYS)('through %s', (_, mode, settings) => {
    let pooler: Pgbouncer
    let servers: ServerProcesses
    beforeAll(async () => {
      pooler = await startPgbouncer(mode)
      servers = await ServerProcesses.open({}, (name, url) => settings(pooler.url(name), url))
      await servers.start()
    })
    afterAll(async () => {
      await servers?.remove()
      await pooler?.remove()
    })

    it('when the server is killed, and when the pooler is, in the middle of it', {
      timeout: ROUNDS * ROUND_LIMIT_MS,
    }, async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const bucket = `box-${round}`
        const made = await servers.request('POST', '/bucket', { body: { name: bucket } })
        expect(made.status).toBe(201)
        const load = new Load({ request: servers.requestOnLine }, bucket, newSeed())
        const files = ['large-1', 'large-2'].map((name) => ({ bucket, name }))
        load.start(isFull ? 6 : 3)
        try {
          await load.succeeds()
          const uploads = files.map((at) =>
            startUpload(bytesFor(at, 3 * MiB), {
              ...tusOptions(servers, at),
              chunkSize: MiB / 2,
              retryDelays: PERSISTENTLY,
            }),
          )
          servers.last.signal('SIGKILL')
          await within(servers.last.ended, 'the server has ended')
          await within(servers.start(), `a server starts (${load})`)
          await load.succeeds(30)
          await within(pooler.restart(), 'the pooler starts')
          await load.succeeds(30)
          const arrived = Promise.all(uploads.map(({ done }) => done))
          await within(arrived, 'uploads in chunks arrive').catch((error: unknown) => {
            const sent = uploads.map(({ sent }) => sent.slice(-5).join(', '))
            const log = servers.last.stdout.slice(-2000)
            throw new Error(`They last sent ${sent.join(' and ')}; ${load}. The server said:\n${log}`, {
              cause: error,
            })
          })
        } finally {
          await within(load.stop(), `all have their answers (${load})`)
        }
        for (const at of files) await expectStored(servers, at, bytesFor(at, 3 * MiB))
        const lost = await load.lost()
        tally.rounds++
        tally.acknowledged += load.acknowledged
        tally.lost += lost.length
        expect([`${load}`, load.strange, lost]).toEqual([`${load}`, [], []])
      }
    })
  })
})
