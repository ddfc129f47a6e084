import type { Bench } from '../family.ts'
import { largeSize, MIB } from '../family.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { startStrongroom } from '../strongroom.ts'
import { timeResumableUpload, timeUpload } from '../transfer.ts'

/** What Supabase's documentation asks clients for, in bytes (contract §5.6). */
const PIECE = 6 * MIB

/** A large resumable upload, in pieces and in one, against the same upload by a plain POST. */
export async function resumable(bench: Bench): Promise<Row[]> {
  const size = largeSize(bench)
  const server = await startStrongroom(bench.folder, 'resumable')
  try {
    await server.createBucket('bench', 'authenticated')
    const headers = { authorization: `Bearer ${server.userToken}` }
    const turn = async (name: string, upload: (name: string) => Promise<number>) => {
      const seconds = await upload(name)
      await fetch(`${server.url}/storage/v1/object/bench/${name}`, { method: 'DELETE', headers })
      return size / MIB / seconds
    }
    const inPieces = (pieceBytes: number) => (name: string) => {
      const url = `${server.url}/storage/v1/upload/resumable`
      return timeResumableUpload(url, size, { bucket: 'bench', name, pieceBytes, headers })
    }
    const plain = (name: string) =>
      timeUpload(`${server.url}/storage/v1/object/bench/${name}`, size, { method: 'POST', headers })
    const [many = 0, one = 0, post = 0] = await alternate(
      [
        { measure: (round) => turn(`${round}-many.bin`, inPieces(PIECE)) },
        { measure: (round) => turn(`${round}-one.bin`, inPieces(size)) },
        { measure: (round) => turn(`${round}-post.bin`, plain) },
      ],
      bench.rounds,
    )
    const reference = { name: 'by plain POST', value: post }
    return [
      { work: `${size / MIB} MiB resumable upload in pieces of ${PIECE / MIB} MiB`, ours: many },
      { work: `${size / MIB} MiB resumable upload in one piece`, ours: one },
    ].map((row) => ({ ...row, unit: 'MiB/s', reference, budget: { atLeast: 0.8 } }))
  } finally {
    await server.stop()
  }
}
