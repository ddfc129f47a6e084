import { type Bench, largeSize, MIB, smallSeconds } from '../family.ts'
import { requestsPerSecond } from '../load.ts'
import { hasNginx, nginxSending } from '../nginx.ts'
import type { Row } from '../results.ts'
import { inBuckets } from '../stores.ts'
import { timeUpload } from '../transfer.ts'
import { NGINX_MISSING } from './large-get.ts'

const PIECE = 4096

/** Small pieces of a large public object, against nginx. */
export async function ranges(bench: Bench): Promise<Row[]> {
  const size = largeSize(bench)
  const middle = size / 2
  const pieces = {
    [`4 KiB from the middle of ${size / MIB} MiB`]: `bytes=${middle}-${middle + PIECE - 1}`,
    [`the last 4 KiB of ${size / MIB} MiB`]: `bytes=-${PIECE}`,
  }
  if (!bench.target && !bench.earlier && !(await hasNginx())) {
    return Object.keys(pieces).map((work) => ({ work, skipped: NGINX_MISSING }))
  }
  const lasts = { seconds: smallSeconds(bench) }
  return inBuckets(bench, 'ranges', 'public', async ({ compare }) => {
    const rows: Row[] = []
    for (const [work, range] of Object.entries(pieces)) {
      const headers = { range }
      const get = (url: string) => ({
        measure: () => requestsPerSecond({ url, headers, lasts }, bench.folder),
      })
      rows.push(
        await compare({
          work,
          unit: '/s',
          on: async (store) => {
            await timeUpload(store.url('object', 'large.bin'), size, {
              method: 'PUT',
              headers: { authorization: `Bearer ${store.api.serviceToken}` },
            })
            const url = store.url('object/public', 'large.bin')
            const answer = await fetch(url, { headers })
            const { byteLength } = await answer.arrayBuffer()
            if (answer.status !== 206 || byteLength !== PIECE) {
              throw new Error(`Range: ${range} was answered ${answer.status} with ${byteLength} bytes`)
            }
            return get(url)
          },
          reference: nginxSending(bench, size, get),
        }),
      )
    }
    return rows
  })
}
