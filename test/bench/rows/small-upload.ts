import type { Bench } from '../family.ts'
import { smallSeconds } from '../family.ts'
import { IN_FLIGHT, requestsPerSecond } from '../load.ts'
import { startReference } from '../processes.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { CONNECTIONS, startStrongroom, USER } from '../strongroom.ts'

const SIZE = 4096

/** A small upload under RLS, flushed to the disk, against the insert of its row. */
export async function smallUpload(bench: Bench): Promise<Row[]> {
  const server = await startStrongroom(bench.folder, 'upload')
  try {
    await server.createBucket('bench', 'authenticated')
    const metadata = {
      eTag: `"${'0'.repeat(64)}"`,
      size: SIZE,
      mimetype: 'text/plain',
      cacheControl: 'no-cache',
      lastModified: new Date().toISOString(),
      contentLength: SIZE,
      httpStatusCode: 200,
    }
    const bare = await startReference('insert-row', {
      database: server.database,
      connections: CONNECTIONS,
      bucket: 'bench',
      subject: USER,
      metadata,
    })
    const seconds = smallSeconds(bench)
    const headers = { authorization: `Bearer ${server.userToken}`, 'content-type': 'text/plain' }
    const uploads = 'x'.repeat(SIZE)
    const ourTurn = (round: number) => {
      const url = `${server.url}/storage/v1/object/bench/round${round}/`
      return requestsPerSecond({ url, headers, seconds, uploads }, bench.folder)
    }
    const [ours = 0, theirs = 0] = await alternate(
      [{ measure: ourTurn }, { measure: () => bare.ask<number>({ seconds, inFlight: IN_FLIGHT }) }],
      bench.rounds,
    )
    await bare.stop()
    return [
      {
        work: '4 KiB upload under RLS',
        unit: '/s',
        ours,
        reference: { name: 'Drizzle inserting the row', value: theirs },
        budget: { atLeast: 0.5 },
      },
    ]
  } finally {
    await server.stop()
  }
}
