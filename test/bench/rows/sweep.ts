import { mkdirSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Bench, MIB, smallSeconds } from '../family.ts'
import { FOR_EVER, requestsPerSecond } from '../load.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { type Strongroom, startStrongroom } from '../strongroom.ts'

/** What a pass of the cleanup over very many files costs: those who upload meanwhile, and in memory. */
export async function sweep(bench: Bench): Promise<Row[]> {
  const files = bench.quick ? 100_000 : 1_000_000
  const server = await startStrongroom(bench.folder, 'sweep')
  try {
    await server.createBucket('bench', 'authenticated')
    bench.say(`making ${files} objects`)
    await makeObjects(server, files)
    let peak = 0
    const headers = { authorization: `Bearer ${server.userToken}`, 'content-type': 'text/plain' }
    const upload = (name: string) => {
      const url = `${server.url}/storage/v1/object/bench/${name}/`
      return requestsPerSecond(
        {
          ...{ url, method: 'POST', headers, body: 'x'.repeat(4096), numberedTo: FOR_EVER },
          lasts: { seconds: smallSeconds(bench) },
        },
        bench.folder,
      )
    }
    const [alone = [], during = []] = await alternate(
      [
        { measure: (round) => upload(`alone${round}`) },
        {
          measure: async (round) => {
            const cleanup = await server.command(['cleanup', '--dry-run'])
            const watched = watchPeak(cleanup.pid)
            const result = await upload(`during${round}`)
            peak = Math.max(peak, await watched.stop())
            if (!watched.wasAlive()) throw new Error('the cleanup was over before the uploads were')
            await cleanup.stop()
            return result
          },
        },
      ],
      bench.rounds,
    )
    bench.say('one whole pass')
    const begun = performance.now()
    const whole = await server.command(['cleanup', '--dry-run'])
    const watched = watchPeak(whole.pid)
    await whole.ended
    peak = Math.max(peak, await watched.stop())
    bench.say(`${files} files and rows in ${Math.round((performance.now() - begun) / 1000)} s`)
    return [
      {
        work: `4 KiB upload while the cleanup goes through ${files} files`,
        unit: '/s',
        ours: during,
        reference: { name: 'without it', figures: alone },
        budget: { atLeast: 0.8 },
      },
      { work: `peak memory of that cleanup`, unit: 'MiB', ours: [peak / MIB], budget: { atMost: 200 } },
    ]
  } finally {
    await server.stop()
  }
}

/** Rows by SQL and empty files by hand: through the server it would take an hour. */
async function makeObjects(server: Strongroom, count: number): Promise<void> {
  const [bucket] = await server.admin`select uid from storage.buckets where id = 'bench'`
  const folder = join(server.dataDir, 'objects', String(bucket?.uid))
  for (let shard = 0; shard < 256; shard++) {
    mkdirSync(join(folder, shard.toString(16).padStart(2, '0')), { recursive: true, mode: 0o700 })
  }
  const PAGE = 50_000
  for (let made = 0; made < count; made += PAGE) {
    const rows = await server.admin<{ version: string }[]>`
      insert into storage.objects (bucket_id, name, version, metadata)
      select 'bench', 'made/' || ${made}::int + n, gen_random_uuid()::text, '{"size": 0}'
      from generate_series(1, ${Math.min(PAGE, count - made)}::int) n returning version`
    for (const { version } of rows) writeFileSync(join(folder, version.slice(0, 2), version), '')
  }
  await server.admin.unsafe('vacuum analyze storage.objects')
}

/** Follows the memory of a process until it ends or is not watched any more. Linux only; 0 elsewhere. */
function watchPeak(pid: number): { stop(): Promise<number>; wasAlive(): boolean } {
  let peak = 0
  let isWatching = true
  let isAlive = true
  const watching = (async () => {
    while (isWatching && isAlive) {
      const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
      const found = /VmHWM:\s+(\d+) kB/.exec(status)?.[1]
      if (found !== undefined) peak = Number(found) * 1024
      else if (process.platform === 'linux') isAlive = false
      await delay(50)
    }
  })()
  return {
    stop: async () => {
      isWatching = false
      await watching
      return peak
    },
    wasAlive: () => isAlive,
  }
}
