import { presign, type S3Keys, signRequest, UNSIGNED } from '../../support/s3-signer.ts'
import { type Bench, smallSeconds } from '../family.ts'
import { type Load, requestsPerSecond } from '../load.ts'
import type { Row } from '../results.ts'
import type { Contestant } from '../rounds.ts'
import { type Comparison, inBuckets, type Store } from '../stores.ts'
import { timeDownload, timeUpload } from '../transfer.ts'
import { LARGE, oneByOne } from './sizes.ts'

const SMALL = 4096

/** How many names small uploads go over, one after the other: each has to be signed, and is before. */
const NAMES = 256

/** How one protocol says it. */
interface Way {
  put(store: Store, name: string): Pick<Load, 'url' | 'headers'>
  get(store: Store, name: string): Pick<Load, 'url' | 'headers'>
  /** A URL that needs nothing else. */
  link(store: Store, name: string): Promise<string>
}

const REST: Way = {
  put: restRequest,
  get: restRequest,
  link: async (store, name) => {
    const path = `/object/sign/${store.bucket}/${name}`
    const { signedURL } = (await store.api.send('POST', path, { expiresIn: 3600 })) as { signedURL: string }
    return `${store.api.base}${signedURL}`
  },
}

const S3: Way = {
  put: (store, name) => s3Request('PUT', store, name),
  get: (store, name) => s3Request('GET', store, name),
  link: async (store, name) => presign({ method: 'GET', url: s3Url(store, name) }, keysOf(store), 3600),
}

/** Large and small files by the S3 protocol, in a user's name, against the same by REST. */
export async function s3(bench: Bench): Promise<Row[]> {
  const send = (load: Omit<Load, 'lasts'>) => ({
    measure: () => requestsPerSecond({ ...load, lasts: { seconds: smallSeconds(bench) } }, bench.folder),
  })
  return inBuckets(bench, 's3', 'authenticated', async ({ who, compare }) => {
    const rows: Row[] = []
    const row = async (
      work: Pick<Comparison, 'work' | 'unit'> & { atLeast: number },
      by: (way: Way) => (store: Store) => Promise<Contestant>,
    ) => {
      const { atLeast, ...named } = work
      const reference = { name: 'REST', on: by(REST) }
      rows.push(await compare({ ...named, on: by(S3), reference, budget: { atLeast } }))
    }
    await row({ work: `64 MiB PUT by S3 ${who}`, unit: 'MiB/s', atLeast: 0.9 }, (way) => async (store) => ({
      measure: () => {
        const { url, headers = {} } = way.put(store, 'large.bin')
        return oneByOne(bench, () => timeUpload(url, LARGE, { method: 'PUT', headers }))
      },
    }))
    await row({ work: '64 MiB GET by S3', unit: 'MiB/s', atLeast: 0.9 }, (way) => async (store) => {
      const url = await way.link(store, 'large.bin') // which the row before has left
      return { measure: () => oneByOne(bench, () => timeDownload(url, LARGE)) }
    })
    await row({ work: `4 KiB PUT by S3 ${who}`, unit: '/s', atLeast: 0.8 }, (way) => async (store) => {
      const inTurn = Array.from({ length: NAMES }, (_, n) => way.put(store, `small/${n}.bin`))
      return send({ url: store.api.base, method: 'PUT', body: 'x'.repeat(SMALL), inTurn })
    })
    await row({ work: `4 KiB GET by S3 ${who}`, unit: '/s', atLeast: 0.8 }, (way) => async (store) => {
      const { url, headers = {} } = way.put(store, 'small.bin')
      await timeUpload(url, SMALL, { method: 'PUT', headers })
      return send(way.get(store, 'small.bin'))
    })
    return rows
  })
}

function restRequest(store: Store, name: string) {
  return { url: store.url('object', name), headers: { authorization: `Bearer ${store.token}` } }
}

function s3Url({ api, bucket }: Store, name: string): string {
  return `${api.base}/s3/${bucket}/${name}`
}

function s3Request(method: string, store: Store, name: string) {
  const url = s3Url(store, name)
  return { url, headers: signRequest({ method, url, payload: UNSIGNED }, keysOf(store)) }
}

/** A session of the load's user. */
function keysOf({ api, token }: Store): S3Keys {
  return { accessKeyId: 'bench', secretAccessKey: api.anonKey, sessionToken: token }
}
