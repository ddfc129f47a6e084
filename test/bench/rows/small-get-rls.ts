import type { Bench } from '../family.ts'
import { smallSeconds } from '../family.ts'
import { IN_FLIGHT, requestsPerSecond } from '../load.ts'
import { startReference } from '../processes.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { CONNECTIONS, startStrongroom, USER } from '../strongroom.ts'

/** A small object that a policy shows, against the one prepared call that finds its row. */
export async function smallGetRls(bench: Bench): Promise<Row[]> {
  const server = await startStrongroom(bench.folder, 'get-rls')
  try {
    await server.createBucket('bench', 'authenticated')
    await server.upload('bench/small.bin', new Uint8Array(4096))
    const path = '/object/authenticated/bench/small.bin'
    const headers = { authorization: `Bearer ${server.userToken}` }
    const claims = JSON.stringify({ role: 'authenticated', iss: 'strongroom', iat: 1_700_000_000, sub: USER })
    const bare = await startReference('read-row', {
      database: server.database,
      connections: CONNECTIONS,
      values: [
        ...['caller', 'bench', 'small.bin', 'authenticated', USER, claims, server.userToken],
        ...['storage.object.get_authenticated', 'GET', path, JSON.stringify(headers), false],
      ],
    })
    const seconds = smallSeconds(bench)
    const url = `${server.url}/storage/v1${path}`
    const [ours = 0, theirs = 0] = await alternate(
      [
        { measure: () => requestsPerSecond({ url, headers, seconds }, bench.folder) },
        { measure: () => bare.ask<number>({ seconds, inFlight: IN_FLIGHT }) },
      ],
      bench.rounds,
    )
    await bare.stop()
    return [
      {
        work: '4 KiB GET under RLS',
        unit: '/s',
        ours,
        reference: { name: 'postgres calling read_object', value: theirs },
        budget: { atLeast: 0.4 },
      },
    ]
  } finally {
    await server.stop()
  }
}
