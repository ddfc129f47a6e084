import { type Bench, largeSize, MIB } from '../family.ts'
import { hasNginx, nginxSending } from '../nginx.ts'
import type { Row } from '../results.ts'
import { inBuckets } from '../stores.ts'
import { timeDownload, timeUpload } from '../transfer.ts'

/** A large public object, against nginx sending as large a file by sendfile. */
export async function largeGet(bench: Bench): Promise<Row[]> {
  const size = largeSize(bench)
  const work = `${size / MIB} MiB GET`
  if (!bench.target && !bench.earlier && !(await hasNginx())) return [{ work, skipped: NGINX_MISSING }]
  const get = (url: string) => ({ measure: async () => size / MIB / (await timeDownload(url, size)) })
  return inBuckets(bench, 'large-get', 'public', async ({ compare }) => [
    await compare({
      work,
      unit: 'MiB/s',
      on: async (store) => {
        await timeUpload(store.url('object', 'large.bin'), size, {
          method: 'POST',
          headers: { authorization: `Bearer ${store.api.serviceToken}` },
        })
        return get(store.url('object/public', 'large.bin'))
      },
      reference: nginxSending(bench, size, get),
      budget: { atLeast: 0.8 },
    }),
  ])
}

export const NGINX_MISSING = 'nginx is not installed (Debian: nginx-light)'
