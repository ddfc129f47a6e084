import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bench } from '../family.ts'
import { largeSize, MIB } from '../family.ts'
import { freePort, startReference } from '../processes.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { startStrongroom } from '../strongroom.ts'
import { timeUpload } from '../transfer.ts'

/** A large upload with SHA-256 and fsync, against a server that does that and nothing else. */
export async function largePut(bench: Bench): Promise<Row[]> {
  const size = largeSize(bench)
  const server = await startStrongroom(bench.folder, 'large-put')
  const folder = join(bench.folder, 'received')
  await mkdir(folder)
  const port = await freePort()
  const bare = await startReference('receive-file', { port, folder })
  try {
    await server.createBucket('bench', 'authenticated')
    const headers = { authorization: `Bearer ${server.userToken}` }
    const put = async (url: string) => size / MIB / (await timeUpload(url, size, { method: 'PUT', headers }))
    const ourTurn = async (round: number) => {
      const url = `${server.url}/storage/v1/object/bench/${round}.bin`
      const speed = await put(url)
      await fetch(url, { method: 'DELETE', headers })
      return speed
    }
    const [ours = 0, theirs = 0] = await alternate(
      [{ measure: ourTurn }, { measure: () => put(`http://127.0.0.1:${port}/`) }],
      bench.rounds,
    )
    return [
      {
        work: `${size / MIB} MiB PUT, SHA-256 and fsync`,
        unit: 'MiB/s',
        ours,
        reference: { name: 'node:http, hash, write, fsync', value: theirs },
        budget: { atLeast: 0.8 },
      },
    ]
  } finally {
    await bare.stop()
    await server.stop()
  }
}
