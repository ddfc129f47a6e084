import { receivingFile } from '../bare.ts'
import { type Bench, largeSize, MIB } from '../family.ts'
import type { Row } from '../results.ts'
import { inBuckets } from '../stores.ts'
import { timeUpload } from '../transfer.ts'

/** A large upload with SHA-256 and fsync, against a server that does that and nothing else. */
export async function largePut(bench: Bench): Promise<Row[]> {
  const size = largeSize(bench)
  const put = async (url: string, headers = {}) =>
    size / MIB / (await timeUpload(url, size, { method: 'PUT', headers }))
  return inBuckets(bench, 'large-put', 'authenticated', async ({ compare }) => [
    await compare({
      work: `${size / MIB} MiB PUT, SHA-256 and fsync`,
      unit: 'MiB/s',
      on: async (store) => ({
        measure: async (round) => {
          const url = store.url('object', `large/${round}.bin`)
          const speed = await put(url, { authorization: `Bearer ${store.token}` })
          await store.emptyFolder('large')
          return speed
        },
      }),
      reference: receivingFile(bench, put),
      budget: { atLeast: 0.8 },
    }),
  ])
}
