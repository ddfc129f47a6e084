import { readFile } from 'node:fs/promises'
import { type ClientRequest, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { type Bench, MIB } from '../family.ts'
import type { Row } from '../results.ts'
import { type Strongroom, startStrongroom } from '../strongroom.ts'

const SIZE = 10 * MIB
const CHUNK = Buffer.alloc(256 * 1024, 'x')

/** Very many uploads at the same time, all of them begun before any is finished. */
export async function memory(bench: Bench): Promise<Row[]> {
  const uploads = bench.quick ? 100 : 1000
  const work = `peak memory, ${uploads} concurrent uploads of 10 MiB`
  if (process.platform !== 'linux') return [{ work, skipped: 'only Linux tells the peak (VmHWM)' }]
  const server = await startStrongroom(bench.folder, 'memory')
  try {
    await server.createBucket('bench', 'authenticated')
    bench.say(`${(await peakBytes(server.pid)) / MIB} MiB before`)
    await uploadAtOnce(server, uploads)
    return [{ work, unit: 'MiB', ours: [(await peakBytes(server.pid)) / MIB], budget: { atMost: 400 } }]
  } finally {
    await server.stop()
  }
}

async function uploadAtOnce(server: Strongroom, count: number): Promise<void> {
  const begun: { sending: ClientRequest; answer: Promise<void> }[] = []
  for (let n = 0; n < count; n++) {
    const sending = request(`${server.url}/storage/v1/object/bench/${n}.bin`, {
      method: 'POST',
      agent: false,
      headers: { authorization: `Bearer ${server.userToken}`, 'content-length': SIZE },
    })
    const answer = new Promise<void>((resolve, reject) => {
      sending.once('error', reject).once('response', async (response) => {
        const body = await text(response)
        if (response.statusCode === 201) resolve()
        else reject(new Error(`upload ${n}: ${response.statusCode} ${body}`))
      })
    })
    answer.catch(() => {}) // awaited below
    begun.push({ sending, answer })
    // The first bytes of each are on their way before the rest of any.
    await new Promise((sent) => sending.write(CHUNK, sent))
  }
  await Promise.all(
    begun.map(async ({ sending, answer }) => {
      for (let sent = CHUNK.length; sent < SIZE; sent += CHUNK.length) {
        await Promise.race([new Promise((done) => sending.write(CHUNK, done)), answer])
      }
      sending.end()
      await answer
    }),
  )
}

/** The most memory that a process has had resident (proc_pid_status(5)). */
async function peakBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024
}
