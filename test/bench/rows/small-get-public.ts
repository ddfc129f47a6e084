import type { Bench } from '../family.ts'
import { smallSeconds } from '../family.ts'
import { requestsPerSecond } from '../load.ts'
import { freePort, startReference } from '../processes.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { startStrongroom } from '../strongroom.ts'

const SIZE = 4096

/** A small public object, against a server that does nothing but send it. */
export async function smallGetPublic(bench: Bench): Promise<Row[]> {
  const server = await startStrongroom(bench.folder, 'get-public')
  const port = await freePort()
  const bare = await startReference('send-buffer', { port, size: SIZE })
  try {
    await server.createBucket('bench', 'public')
    await server.upload('bench/small.bin', new Uint8Array(SIZE))
    const seconds = smallSeconds(bench)
    const get = (url: string) => ({ measure: () => requestsPerSecond({ url, seconds }, bench.folder) })
    const [ours = 0, theirs = 0] = await alternate(
      [get(`${server.url}/storage/v1/object/public/bench/small.bin`), get(`http://127.0.0.1:${port}/`)],
      bench.rounds,
    )
    return [
      {
        work: '4 KiB GET of a public object',
        unit: '/s',
        ours,
        reference: { name: 'node:http sending the Buffer', value: theirs },
        budget: { atLeast: 0.5 },
      },
    ]
  } finally {
    await bare.stop()
    await server.stop()
  }
}
