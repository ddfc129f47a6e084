import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { LateHash, LateRoom } from '../../../src/storage/resumable/late-hash.ts'
import { newSeed, Random } from '../../faults/random.ts'
import { until } from '../../support/wait.ts'

const MiB = 1024 * 1024

/** A chunk of an upload as it comes, in pieces of any length. */
class Arriving {
  readonly pieces: Uint8Array[] = []
  readonly hash: LateHash
  /** What was given back, which may have other bytes now. */
  given = 0

  constructor(random: Random, size: number | null, bytes: number, room = new LateRoom()) {
    for (let left = bytes; left > 0; left -= this.pieces.at(-1)?.length ?? 0) {
      this.pieces.push(random.bytes(Math.min(left, 1 + random.below(65_536))))
    }
    const giveBack = (some: Uint8Array[]) => {
      for (const piece of some) {
        this.given += piece.length
        piece.fill(0)
      }
    }
    this.hash = new LateHash({ hash: createHash('sha256').update('before'), size, room, giveBack })
  }

  expected(): string {
    const hash = createHash('sha256').update('before')
    for (const piece of this.pieces) hash.update(piece)
    return hash.digest('hex')
  }
}

const digestOf = (late: LateHash) => late.finish().copy().digest('hex')

describe('the hash of a chunk', () => {
  it.each([
    ['is that of all its bytes, in their order, of which each is given back once', (size: number) => size],
    ['is the same when nobody knows how long it is', () => null],
    ['is that of what has come of one that breaks off', (size: number) => size + 100_000],
  ])('%s', (_, declared) => {
    const seed = newSeed()
    const random = new Random(seed)
    for (const size of [0, 1, 1 + random.below(MiB), 2 * MiB - 1, 2 * MiB, 3 * MiB + random.below(MiB)]) {
      const chunk = new Arriving(random, declared(size), size)
      const expected = chunk.expected()
      const written: Uint8Array[] = []
      for (const piece of chunk.pieces) {
        chunk.hash.update(piece)
        written.push(piece)
        if (random.below(4) === 0) chunk.hash.giveBack(written.splice(0))
      }
      chunk.hash.giveBack(written)
      expect([seed, size, digestOf(chunk.hash)]).toEqual([seed, size, expected])
      expect([seed, chunk.given]).toEqual([seed, size])
    }
  })

  it('is that of a body that brings the same piece again and again', () => {
    const piece = Buffer.alloc(1000, 'a')
    const hash = new LateHash({ hash: createHash('sha256'), size: 3000, room: new LateRoom() })
    for (let i = 0; i < 3; i++) hash.update(piece)
    expect(digestOf(hash)).toBe(createHash('sha256').update(Buffer.alloc(3000, 'a')).digest('hex'))
  })

  it('is made of the end while others have their turn, before anybody asks for it', async () => {
    const chunk = new Arriving(new Random(newSeed()), MiB, MiB)
    for (const piece of chunk.pieces) chunk.hash.update(piece)
    chunk.hash.giveBack(chunk.pieces)
    expect(chunk.given).toBe(0)
    await until(async () => chunk.given === MiB, 'the end is hashed')
  })

  it('takes no more memory for many at once than for a few, and frees what is not wanted', () => {
    const random = new Random(newSeed())
    const room = new LateRoom()
    const chunks = Array.from({ length: 20 }, () => new Arriving(random, MiB, MiB, room))
    for (const { hash, pieces } of chunks) {
      for (const piece of pieces) hash.update(piece)
      hash.giveBack(pieces)
    }
    const held = 20 * MiB - chunks.reduce((sum, { given }) => sum + given, 0)
    expect(held).toBeGreaterThan(15 * MiB)
    expect(held).toBeLessThanOrEqual(16 * MiB)
    for (const { hash } of chunks) hash.drop()
    expect([room.take(16 * MiB), room.take(1)]).toEqual([true, false])
  })
})
