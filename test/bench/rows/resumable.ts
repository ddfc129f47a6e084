import { type Bench, MIB } from '../family.ts'
import type { Row } from '../results.ts'
import { inBuckets, type Store } from '../stores.ts'
import { timeResumableUpload, timeUpload } from '../transfer.ts'

/** What Supabase's documentation asks clients for, in bytes (wire §5.6). */
const PIECE = 6 * MIB

/** Of the whole, in bytes. */
const SIZE = 256 * MIB

/** A large resumable upload, in pieces and in one, against the same upload by a plain POST. */
export async function resumable(bench: Bench): Promise<Row[]> {
  const turns = (upload: (store: Store, name: string) => Promise<number>) => async (store: Store) => ({
    measure: async (round: number) => {
      const seconds = await upload(store, `large/${round}.bin`)
      await store.emptyFolder('large')
      return SIZE / MIB / seconds
    },
  })
  const inPieces = (pieceBytes: number) => (store: Store, name: string) =>
    timeResumableUpload(`${store.api.base}/upload/resumable`, SIZE, {
      ...{ bucket: store.bucket, name, pieceBytes },
      headers: { authorization: `Bearer ${store.token}` },
    })
  const plain = (store: Store, name: string) =>
    timeUpload(store.url('object', name), SIZE, {
      method: 'POST',
      headers: { authorization: `Bearer ${store.token}` },
    })
  return inBuckets(bench, 'resumable', 'authenticated', async ({ compare }) => {
    const row = (work: string, pieceBytes: number) =>
      compare({
        work: `${SIZE / MIB} MiB resumable upload ${work}`,
        unit: 'MiB/s',
        on: turns(inPieces(pieceBytes)),
        reference: { name: 'by plain POST', on: turns(plain) },
        budget: { atLeast: 0.8 },
      })
    return [await row(`in pieces of ${PIECE / MIB} MiB`, PIECE), await row('in one piece', SIZE)]
  })
}
