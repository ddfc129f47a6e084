import { receivingFile } from '../bare.ts'
import { type Bench, MIB, smallSeconds } from '../family.ts'
import { FOR_EVER, requestsPerSecond } from '../load.ts'
import { hasNginx, nginxSending } from '../nginx.ts'
import type { Row } from '../results.ts'
import { inBuckets } from '../stores.ts'
import { timeDownload, timeUpload } from '../transfer.ts'
import { NGINX_MISSING } from './large-get.ts'

/** What is small enough to be sent by many at once, in bytes. */
const SIDE_BY_SIDE = [16 * 1024, 64 * 1024, MIB]
/** What is sent one after the other, in bytes. */
export const LARGE = 64 * MIB

/** Public objects of some sizes, against nginx. */
export async function sizesGet(bench: Bench): Promise<Row[]> {
  const sizes = [...SIDE_BY_SIDE, LARGE]
  const work = (size: number) => `${inWords(size)} GET`
  if (!bench.target && !bench.earlier && !(await hasNginx())) {
    return sizes.map((size) => ({ work: work(size), skipped: NGINX_MISSING }))
  }
  return inBuckets(bench, 'sizes-get', 'public', async ({ compare }) => {
    const rows: Row[] = []
    for (const size of sizes) {
      const get = (url: string) => ({
        measure: () =>
          size === LARGE ? oneByOne(bench, () => timeDownload(url, size)) : manyAtOnce(bench, size, { url }),
      })
      rows.push(
        await compare({
          work: work(size),
          unit: 'MiB/s',
          on: async (store) => {
            await store.upload(`${size}.bin`, new Uint8Array(size))
            return get(store.url('object/public', `${size}.bin`))
          },
          reference: nginxSending(bench, size, get),
        }),
      )
    }
    return rows
  })
}

/** Uploads of some sizes, against a server that hashes, writes and flushes, and does nothing else. */
export async function sizesPut(bench: Bench): Promise<Row[]> {
  return inBuckets(bench, 'sizes-put', 'authenticated', async ({ who, compare }) => {
    const rows: Row[] = []
    for (const size of [...SIDE_BY_SIDE, LARGE]) {
      const put = async (url: string, headers = {}) => {
        if (size < LARGE) {
          const body = 'x'.repeat(size)
          return manyAtOnce(bench, size, { url, method: 'PUT', headers, body, numberedTo: FOR_EVER })
        }
        let count = 0
        return oneByOne(bench, () => timeUpload(`${url}${++count}`, size, { method: 'PUT', headers }))
      }
      rows.push(
        await compare({
          work: `${inWords(size)} PUT ${who}`,
          unit: 'MiB/s',
          on: async (store) => ({
            measure: async () => {
              const speed = await put(store.url('object', 'turn/'), {
                authorization: `Bearer ${store.token}`,
              })
              await store.emptyFolder('turn')
              return speed
            },
          }),
          reference: receivingFile(bench, put),
        }),
      )
    }
    return rows
  })
}

async function manyAtOnce(
  bench: Bench,
  size: number,
  load: Omit<Parameters<typeof requestsPerSecond>[0], 'lasts'>,
): Promise<number> {
  const lasts = { seconds: smallSeconds(bench) }
  return (size / MIB) * (await requestsPerSecond({ ...load, lasts }, bench.folder))
}

/** Transfers of `LARGE` bytes. @param transfer returns seconds @returns MiB per second */
export async function oneByOne(bench: Bench, transfer: () => Promise<number>): Promise<number> {
  const times = bench.quick ? 2 : 8
  let seconds = 0
  for (let n = 0; n < times; n++) seconds += await transfer()
  return (times * LARGE) / MIB / seconds
}

function inWords(size: number): string {
  return size < MIB ? `${size / 1024} KiB` : `${size / MIB} MiB`
}
