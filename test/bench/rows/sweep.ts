import { type Bench, MIB, smallSeconds } from '../family.ts'
import { FOR_EVER, requestsPerSecond } from '../load.ts'
import { makeObjects } from '../many-objects.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { startStrongroom } from '../strongroom.ts'
import { watchPeak } from '../watched-memory.ts'

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
