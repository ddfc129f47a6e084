import type { Policy } from '../api.ts'
import { callingReadObject, sendingBuffer } from '../bare.ts'
import { type Bench, type Family, smallSeconds } from '../family.ts'
import { type Load, requestsPerSecond } from '../load.ts'
import { inBuckets, type Store } from '../stores.ts'

const SIZE = 4096

/**
 * A small request like all others, against a server that does nothing but send 4 KiB, or against the one prepared call
 * that it makes.
 */
interface SmallRequest {
  /** Of the row, and of the folder. */
  name: string
  /** @param who whom the request comes from */
  work(who: string): string
  policy: Policy
  /** What is sent again and again. The bucket holds `small.bin`. */
  load(store: Store): Promise<Omit<Load, 'lasts'>>
  /** What it asks the database for `small.bin`, if that is to stand beside it. */
  call?: Pick<Parameters<typeof callingReadObject>[2], 'access' | 'operation' | 'method' | 'route'>
}

export const smallGetSigned = family({
  name: 'get-signed',
  work: () => '4 KiB GET by signed URL',
  policy: 'private',
  load: async (store) => {
    const path = `/object/sign/${store.bucket}/small.bin`
    const { signedURL } = (await store.api.send('POST', path, { expiresIn: 3600 })) as { signedURL: string }
    return { url: `${store.api.base}${signedURL}` }
  },
})

export const notModified = family({
  name: 'not-modified',
  work: () => '304 to the ETag of a public object',
  policy: 'public',
  load: async (store) => {
    const url = store.url('object/public', 'small.bin')
    const etag = (await fetch(url)).headers.get('etag') ?? ''
    const headers = { 'if-none-match': etag }
    const { status } = await fetch(url, { headers })
    if (status !== 304) throw new Error(`If-None-Match: ${etag} was answered ${status}`)
    return { url, headers }
  },
})

export const info = family({
  name: 'info',
  work: (who) => `info ${who}`,
  policy: 'authenticated',
  load: async (store) => ({ url: store.url('object/info', 'small.bin'), headers: authorization(store) }),
  call: {
    ...{ access: 'caller', operation: 'object.get_authenticated_info' },
    ...{ method: 'GET', route: 'object/info' },
  },
})

export const signOne = family({
  name: 'sign',
  work: (who) => `sign one ${who}`,
  policy: 'authenticated',
  load: async (store) => signing(store, 'small.bin', {}),
  call: { access: 'policy', operation: 'storage.object.sign', method: 'POST', route: 'object/sign' },
})

export const signHundred = family({
  name: 'sign-100',
  work: (who) => `sign 100 ${who}`,
  policy: 'authenticated',
  load: async (store) => {
    const paths = Array.from({ length: 100 }, (_, n) => `many/${n}.bin`)
    await Promise.all(paths.map((path) => store.upload(path, new Uint8Array(SIZE))))
    return signing(store, '', { paths })
  },
})

function signing(store: Store, name: string, fields: { paths?: string[] }) {
  return {
    url: store.url('object/sign', name).replace(/\/$/, ''),
    method: 'POST' as const,
    headers: { ...authorization(store), 'content-type': 'application/json' },
    body: JSON.stringify({ expiresIn: 3600, ...fields }),
  }
}

function authorization(store: Store) {
  return { authorization: `Bearer ${store.token}` }
}

function family({ name, work, policy, load, call }: SmallRequest): Family {
  return (bench: Bench) =>
    inBuckets(bench, name, policy, async ({ server, who, compare }) => {
      const lasts = { seconds: smallSeconds(bench) }
      return [
        await compare({
          work: work(who),
          unit: '/s',
          on: async (store) => {
            await store.upload('small.bin', new Uint8Array(SIZE))
            const sent = await load(store)
            return { measure: () => requestsPerSecond({ ...sent, lasts }, bench.folder) }
          },
          ...(call
            ? {
                reference: callingReadObject(bench, server, { ...call, name: 'small.bin' }),
                budget: { atLeast: 0.6 },
              }
            : { reference: sendingBuffer(bench, SIZE, { lasts }) }),
        }),
      ]
    })
}
