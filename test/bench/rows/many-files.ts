import { StorageClient } from '@supabase/storage-js'
import { forEachConcurrent } from '../../../src/lib/concurrency.ts'
import type { Bench } from '../family.ts'
import type { Row } from '../results.ts'
import { inBuckets, type Store } from '../stores.ts'

/** How many files are on their way at any moment. */
const AT_ONCE = 20

/** Many small files by Supabase's client, as whoever moves a folder of them: up, and down again. */
export async function manyFiles(bench: Bench): Promise<Row[]> {
  const count = bench.quick || bench.earlier ? 500 : 2000
  const files = Array.from({ length: count }, (_, n) => n)
  return inBuckets(bench, 'many-files', 'authenticated', async ({ who, compare }) => {
    const up = async (store: Store, folder: string) => {
      const bucket = clientOf(store)
      await forEachConcurrent(AT_ONCE, files, async (n) => {
        const { error } = await bucket.upload(`${folder}/${n}`, new Uint8Array(sizeOf(n)))
        if (error) throw error
      })
    }
    const down = async (store: Store, folder: string) => {
      const bucket = clientOf(store)
      await forEachConcurrent(AT_ONCE, files, async (n) => {
        const { data, error } = await bucket.download(`${folder}/${n}`)
        if (error) throw error
        const { byteLength } = await data.arrayBuffer()
        if (byteLength !== sizeOf(n)) throw new Error(`${n}: ${byteLength} bytes`)
      })
    }
    const perSecond = async (work: Promise<void>) => {
      const begun = performance.now()
      await work
      return count / ((performance.now() - begun) / 1000)
    }
    const by = `by storage-js ${who}, ${AT_ONCE} at once`
    return [
      await compare({
        work: `uploads of 4 to 64 KiB ${by}`,
        unit: '/s',
        on: async (store) => ({
          measure: async (round) => {
            const speed = await perSecond(up(store, `up${round}`))
            await store.emptyFolder(`up${round}`)
            return speed
          },
        }),
      }),
      await compare({
        work: `downloads of 4 to 64 KiB ${by}`,
        unit: '/s',
        on: async (store) => {
          await up(store, 'down')
          return { measure: () => perSecond(down(store, 'down')) }
        },
      }),
    ]
  })
}

function clientOf({ api, bucket, token }: Store) {
  return new StorageClient(api.base, { authorization: `Bearer ${token}` }).from(bucket)
}

/** Of a file, in bytes: each of sixteen sizes is as frequent. */
function sizeOf(n: number): number {
  return 4096 * (1 + (n % 16))
}
