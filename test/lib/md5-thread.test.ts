import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Md5Thread, type ThreadedMd5 } from '../../src/lib/md5-thread.ts'
import { seededBytes } from '../support/seeded-bytes.ts'

const BATCH = 512 * 1024
const MOST_IN_FLIGHT = 32 * BATCH
const BYTES = seededBytes('md5', 2 * MOST_IN_FLIGHT + 1)

let thread: Md5Thread
beforeEach(() => {
  thread = new Md5Thread()
})
afterEach(() => thread.close())

/** Feeds it as a stream would, that waits when it is told to. */
async function feed(md5: ThreadedMd5, bytes: Uint8Array, chunkSize: number): Promise<void> {
  for (let at = 0; at < bytes.length; at += chunkSize) {
    await new Promise<void>((resolve) => {
      if (md5.update(bytes.subarray(at, at + chunkSize), resolve)) resolve()
    })
  }
}

async function md5Of(bytes: Uint8Array, chunkSize: number): Promise<string> {
  const md5 = thread.begin()
  await feed(md5, bytes, chunkSize)
  return (await md5.digest()).toString('hex')
}

/** How many threads of this process give way to this one (proc_pid_stat(5), the 19th field). */
function lessUrgentThreads(): number {
  const nice = readdirSync('/proc/self/task').map((id) => {
    const [, fields = ''] = readFileSync(`/proc/self/task/${id}/stat`, 'utf8').split(/\) /)
    return Number(fields.split(' ')[16])
  })
  return nice.filter((value) => value > getPriority()).length
}

function expected(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('hex')
}

describe('Md5Thread', () => {
  it.each([0, 1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH, BYTES.length])(
    'knows the MD5 of %i bytes',
    async (size) => {
      const bytes = BYTES.subarray(0, size)
      expect(await md5Of(bytes, 65_536)).toBe(expected(bytes))
      expect(await md5Of(bytes, 1_000_003)).toBe(expected(bytes))
    },
  )

  it('takes chunks of a byte', async () => {
    const bytes = BYTES.subarray(0, 10_000)
    expect(await md5Of(bytes, 1)).toBe(expected(bytes))
  })

  it('takes chunks larger than all that it has memory for', async () => {
    expect(await md5Of(BYTES, BYTES.length)).toBe(expected(BYTES))
  })

  it('keeps many bodies apart', async () => {
    const bodies = Array.from({ length: 60 }, (_, n) => BYTES.subarray(n, n + BATCH + n * 20_000))
    const digests = await Promise.all(bodies.map((bytes) => md5Of(bytes, 65_536)))
    expect(digests).toEqual(bodies.map(expected))
  })

  it('lets a body wait when it comes faster than it is computed, and only then calls back', async () => {
    const md5 = thread.begin()
    const sent: Uint8Array[] = []
    let calls = 0
    const room = new Promise<void>((resolve) => {
      const onRoom = () => {
        calls += 1
        resolve()
      }
      let hasRoom = true
      while (hasRoom) {
        const bytes = BYTES.subarray(sent.length, sent.length + BATCH)
        sent.push(bytes)
        hasRoom = md5.update(bytes, onRoom)
      }
    })
    expect(sent.length * BATCH).toBeGreaterThan(MOST_IN_FLIGHT)
    expect(calls).toBe(0)
    await room
    expect(calls).toBe(1)
    expect((await md5.digest()).toString('hex')).toBe(expected(Buffer.concat(sent)))
  })

  it('needs the chunks that it is given until it has copied them', async () => {
    const md5 = thread.begin()
    const chunks = Array.from(
      { length: 32 },
      (_, n) => new Uint8Array(BYTES.subarray(n * 65_536, (n + 1) * 65_536)),
    )
    let size = 0
    for (const chunk of chunks) {
      size += chunk.length
      md5.update(chunk, () => {})
      md5.giveBack([chunk])
    }
    const digest = md5.digest()
    expect(chunks.map(({ length }) => length)).toEqual(Array(32).fill(0)) // their memory is freed
    expect((await digest).toString('hex')).toBe(expected(BYTES.subarray(0, size)))
  })

  it('has the digest once, whoever asks for it', async () => {
    const md5 = thread.begin()
    await feed(md5, BYTES.subarray(0, 2 * BATCH), 65_536)
    const digests = await Promise.all([md5.digest(), md5.digest()])
    expect([...digests, await md5.digest()].map(String)).toEqual(Array(3).fill(String(digests[0])))
    expect(digests[0]?.toString('hex')).toBe(expected(BYTES.subarray(0, 2 * BATCH)))
  })

  it.runIf(process.platform === 'linux')(
    'gives way to all else that is done, which keeps its place',
    async () => {
      const before = { own: getPriority(), others: lessUrgentThreads() }
      await md5Of(BYTES.subarray(0, 2 * BATCH), 65_536)
      expect({ own: getPriority(), others: lessUrgentThreads() }).toEqual({
        ...before,
        others: before.others + 1,
      })
    },
  )

  it('goes on for others when those that wait are given up', async () => {
    const givenUp = Array.from({ length: 20 }, () => thread.begin())
    for (const md5 of givenUp) md5.update(BYTES.subarray(0, 2 * BATCH), () => {})
    for (const md5 of givenUp) md5.forget()
    expect(await md5Of(BYTES, 65_536)).toBe(expected(BYTES))
  })

  it('fails what it was computing when it ends, and is there anew for the next', async () => {
    const md5 = thread.begin()
    await feed(md5, BYTES.subarray(0, 2 * BATCH), 65_536)
    const waiting = thread.begin()
    const woken = new Promise<void>((resolve) => {
      while (waiting.update(BYTES.subarray(0, BATCH), resolve));
    })
    const closed = thread.close() // what it is told from here on it does not do
    await Promise.all([expect(md5.digest()).rejects.toThrow('has ended'), woken, closed])
    expect(() => waiting.update(BYTES.subarray(0, 1), () => {})).toThrow('has ended')
    await expect(waiting.digest()).rejects.toThrow('has ended')
    expect(await md5Of(BYTES, 65_536)).toBe(expected(BYTES))
  })
})
