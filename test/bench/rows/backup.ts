import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Bench, MIB, smallSeconds } from '../family.ts'
import { type Answered, answered, FOR_EVER, type Load, MANY_IN_FLIGHT } from '../load.ts'
import { makeObjects } from '../many-objects.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { type Strongroom, startStrongroom } from '../strongroom.ts'
import { watchPeak } from '../watched-memory.ts'

const MINUTE_MS = 60_000

/** How often it is asked whether a backup has ended, in milliseconds. */
const LOOK_MS = 200

/** What a backup of very many objects costs those who upload meanwhile, and one upon which nothing has changed. */
export async function backup(bench: Bench): Promise<Row[]> {
  const objects = bench.quick ? 100_000 : 1_000_000
  const server = await startStrongroom(bench.folder, 'backup')
  try {
    await server.createBucket('bench', 'authenticated')
    bench.say(`making ${objects} objects`)
    await makeObjects(server, objects, { haveBytes: true })
    bench.say('one whole backup')
    const whole = await timed(server, [])
    bench.say(
      `${objects} objects in ${Math.round(whole.ms / 1000)} s, ${Math.round(whole.peak / MIB)} MiB at most`,
    )
    const unchanged: number[] = []
    let peak = whole.peak
    for (let round = 0; round < bench.rounds; round++) {
      const one = await timed(server, ['--incremental'])
      unchanged.push(one.ms)
      peak = Math.max(peak, one.peak)
    }
    const rows: Row[] = []
    for (const maker of [byCommand, byRest]) {
      const { during, alone } = await beside(bench, server, maker)
      rows.push(
        {
          work: `4 KiB upload beside a backup of ${objects} objects, ${maker.how}`,
          unit: '/s',
          ours: during.map(({ perSecond }) => perSecond),
          reference: { name: 'without it', figures: alone.map(({ perSecond }) => perSecond) },
          budget: { atLeast: 0.85 },
        },
        {
          work: 'the same, p99',
          unit: 'ms',
          ours: during.map(({ p99 }) => p99),
          reference: { name: 'without it', figures: alone.map(({ p99 }) => p99) },
          budget: { atMost: 2 },
        },
      )
    }
    return [
      ...rows,
      {
        work: `incremental backup of ${objects} objects that are as they were`,
        unit: 'ms',
        ours: unchanged,
        budget: { atMost: MINUTE_MS },
      },
      { work: 'peak memory of a backup', unit: 'MiB', ours: [peak / MIB], budget: { atMost: 300 } },
    ]
  } finally {
    await server.stop()
  }
}

/** One backup, to its end. */
async function timed(server: Strongroom, more: string[]): Promise<{ ms: number; peak: number }> {
  const begun = performance.now()
  const command = await create(server, more)
  const watched = watchPeak(command.pid)
  const code = await command.ended
  const peak = await watched.stop()
  await command.stop()
  if (code !== 0) throw new Error(`a backup has failed: see ${server.dataDir}.log`)
  return { ms: performance.now() - begun, peak }
}

function create(server: Strongroom, more: string[]) {
  return server.command(['backup', 'create', '--to', join(server.dataDir, 'backups'), ...more])
}

/** Small uploads while whole backups are made one after the other, and while none is. */
async function beside(
  bench: Bench,
  server: Strongroom,
  maker: Maker,
): Promise<{ during: Answered[]; alone: Answered[] }> {
  const found = { during: [] as Answered[], alone: [] as Answered[] }
  const headers = { authorization: `Bearer ${server.userToken}`, 'content-type': 'text/plain' }
  const upload = async (what: keyof typeof found, round: number) => {
    const url = `${server.url}/storage/v1/object/bench/${maker.how}-${what}${round}/`.replaceAll(' ', '-')
    const lasts = { seconds: 2 * smallSeconds(bench) }
    const load: Load = { url, method: 'POST', headers, body: 'x'.repeat(4096), numberedTo: FOR_EVER, lasts }
    const answers = await answered({ ...load, inFlight: MANY_IN_FLIGHT }, bench.folder)
    if (round >= 0) found[what].push(answers)
    return answers.perSecond
  }
  await alternate(
    [
      { measure: (round) => upload('alone', round) },
      {
        measure: async (round) => {
          const backups = keepMaking(server, maker)
          const rate = await upload('during', round)
          await backups.stop()
          return rate
        },
      },
    ],
    bench.rounds,
  )
  return found
}

/** Who makes whole backups. */
interface Maker {
  how: string
  /** Makes one. Resolves once it has ended, which is soon after `stopping` is aborted. */
  make(server: Strongroom, stopping: AbortSignal): Promise<void>
}

const byCommand: Maker = {
  how: 'by command',
  make: async (server, stopping) => {
    const command = await create(server, [])
    const stop = () => void command.stop()
    stopping.addEventListener('abort', stop)
    if (stopping.aborted) stop()
    const code = await command.ended
    if (code !== 0 && !stopping.aborted) throw new Error(`a backup has failed: see ${server.dataDir}.log`)
  },
}

const byRest: Maker = {
  how: 'by REST',
  make: async (server, stopping) => {
    const ask = async (method: string, path: string) => {
      const headers = { authorization: `Bearer ${server.serviceToken}`, 'content-type': 'application/json' }
      const body = method === 'POST' ? { body: '{}' } : {}
      const response = await fetch(`${server.url}/storage/v1/backup${path}`, { method, headers, ...body })
      if (!response.ok) throw new Error(`a backup was answered ${response.status}: ${await response.text()}`)
      return (await response.json()) as { id: string; status: string; error: string | null }
    }
    const { id } = await ask('POST', '')
    for (;;) {
      const { status, error } = await ask('GET', `/${id}`)
      if (status === 'completed') return
      if (status === 'failed') {
        if (!stopping.aborted) throw new Error(`a backup has failed: ${error}`)
        // Else the next one would remove it first.
        return rm(join(server.dataDir, 'backups', id), { recursive: true, force: true })
      }
      if (stopping.aborted) await killMaker(server)
      await delay(LOOK_MS)
    }
  },
}

/** Ends the process that makes a backup for the server, since nothing but the end of the server would. Linux only. */
async function killMaker(server: Strongroom): Promise<void> {
  const text = (path: string) => readFile(path, 'utf8').catch(() => '')
  const children = (await text(`/proc/${server.pid}/task/${server.pid}/children`)).split(' ').map(Number)
  for (const pid of children.filter(Boolean)) {
    if ((await text(`/proc/${pid}/cmdline`)).includes('backup-process')) process.kill(pid, 'SIGKILL')
  }
}

/** Makes backups until it is stopped, which ends the one that is under way. */
function keepMaking(server: Strongroom, maker: Maker): { stop(): Promise<void> } {
  const stopping = new AbortController()
  const making = (async () => {
    while (!stopping.signal.aborted) await maker.make(server, stopping.signal)
  })()
  making.catch(() => {}) // told to who stops it
  return {
    stop: async () => {
      stopping.abort()
      await making
    },
  }
}
