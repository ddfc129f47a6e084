import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Api } from '../api.ts'
import type { Bench } from '../family.ts'
import { freePort, startProgram, untilAnswers } from '../processes.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { readKeysOf, spawnStrongroom } from '../strongroom.ts'

const BARE =
  "require('node:http').createServer((_, answer) => answer.end()).listen(+process.argv[1], '127.0.0.1')"

/** From the start of the process until it is ready: the first one ever, and later ones. In milliseconds. */
export async function coldStart(bench: Bench): Promise<Row[]> {
  const { folder } = bench
  const used = join(folder, 'cold-start')
  await startAndStop(used, async () => {})
  const { serviceKey } = await readKeysOf(used)
  const bucket = { name: 'bench', policy: 'private' } as const
  await startAndStop(used, (url) => apiAt(url, serviceKey).createBucket(bucket.name, bucket.policy))

  const [first = [], later = [], upload = [], bare = []] = await alternate(
    [
      {
        measure: async (round) => {
          const fresh = join(folder, `cold-start-${round}`)
          const milliseconds = await startAndStop(fresh, async () => {})
          await rm(fresh, { recursive: true, force: true })
          return milliseconds
        },
      },
      { measure: () => startAndStop(used, async () => {}) },
      {
        measure: () =>
          startAndStop(used, (url) =>
            apiAt(url, serviceKey).upload(`${bucket.name}/${randomUUID()}`, new Uint8Array(4096)),
          ),
      },
      { measure: () => startBare(folder) },
    ],
    bench.rounds,
  )
  const reference = { name: 'bare node:http', figures: bare }
  return [
    { work: 'first start ever, until ready', unit: 'ms', ours: first, reference },
    { work: 'start with an old data folder, until ready', unit: 'ms', ours: later, reference },
    {
      work: 'start with an old data folder, until a 4 KiB upload is stored',
      unit: 'ms',
      ours: upload,
      reference,
    },
  ]
}

function apiAt(url: string, serviceKey: string): Api {
  return new Api(`${url}/storage/v1`, serviceKey, undefined)
}

/** @returns milliseconds until it was ready and `then` was done */
async function startAndStop(dataDir: string, then: (url: string) => Promise<void>): Promise<number> {
  const startedAt = performance.now()
  const { child, url } = await spawnStrongroom(dataDir)
  await untilAnswers(`${url}/health/ready`, `${dataDir}.log`, child)
  await then(url)
  const milliseconds = performance.now() - startedAt
  await child.stop()
  return milliseconds
}

async function startBare(folder: string): Promise<number> {
  const port = await freePort()
  const log = join(folder, 'bare.log')
  const startedAt = performance.now()
  const bare = await startProgram([process.execPath, '-e', BARE, String(port)], { log })
  await untilAnswers(`http://127.0.0.1:${port}/`, log, bare)
  const milliseconds = performance.now() - startedAt
  await bare.stop()
  return milliseconds
}
