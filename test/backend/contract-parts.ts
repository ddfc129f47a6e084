import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Unfinished } from '../../src/backend/backend.ts'
import {
  MAX_PART_NUMBER,
  type NumberClaim,
  type Part,
  type ResumableBackend,
} from '../../src/backend/resumable-backend.ts'
import type { Location } from '../../src/model/location.ts'
import { newSeed, Random } from '../faults/random.ts'
import { newLocation, stream, writeOver } from './contract.ts'
import { CHUNKS_PER_LOOK, heldBytes, LARGE, LARGE_GROWTH } from './large.ts'
import { NumberClaims } from './number-claims.ts'

const MiB = 1024 * 1024
const missing = { code: 'MissingBytes' }

/**
 * The promises of `resumable-backend.ts` about versions that come in parts, asked of any backend.
 *
 * @param openStore makes an empty store for one test. What it gives back opens a backend on that store, as each of
 *   several servers does; the suite closes them
 * @param partSize a length in bytes around which a backend may go wrong, such as that of a part it sends
 * @param options.inMemory whether it holds all bytes in memory, and need not do without that
 */
export function describeParts(
  name: string,
  openStore: () => Promise<() => Promise<ResumableBackend>>,
  partSize = 512 * 1024,
  { inMemory = false }: { inMemory?: boolean } = {},
): void {
  describe(`${name} keeps the contract about parts`, () => {
    let backends: ResumableBackend[]
    let openAnother: () => Promise<ResumableBackend>
    let backend: ResumableBackend
    let at: Location

    beforeEach(async () => {
      backends = []
      const open = await openStore()
      openAnother = async () => {
        const opened = await open()
        backends.push(opened)
        return opened
      }
      backend = await openAnother()
      at = newLocation()
    })
    afterEach(async () => {
      // The store of the tests keeps all in memory.
      if (!backend.isLocal) for await (const { location } of backend.list()) await backend.discard(location)
      for (const opened of backends) await opened.close()
    })

    const seed = newSeed()
    const random = new Random(seed)
    const someBytes = (length: number) => random.bytes(length)

    const write = async (number: number, bytes: Buffer, to = at, by = backend, claim?: NumberClaim) => {
      const part = await by.writePart(to, number, number % 2 ? stream(Buffer.from(bytes), 60_013) : bytes, {
        size: bytes.length,
        claim,
        giveBack: writeOver,
      })
      expect(part).toMatchObject({ number, size: bytes.length, sha256: sha256(bytes) })
      return kept(part)
    }
    /** Writes these, numbered from 1 on. */
    const writeAll = async (parts: Buffer[], to = at) => {
      const written: Part[] = []
      for (const [index, bytes] of parts.entries()) written.push(await write(index + 1, bytes, to))
      return written
    }

    const list = async () => {
      const found: { location: Location; size: number }[] = []
      for await (const { location, size } of backend.list()) found.push({ location, size })
      return found
    }
    const unfinished = async () => {
      const found: Unfinished[] = []
      for await (const one of backend.unfinished()) found.push(one)
      return found
    }

    /** That this is all that there is. */
    const expectWhole = async (bytes: Buffer) => {
      expect(await backend.size(at)).toBe(bytes.length)
      expect(bytes.equals(await buffer(await backend.read(at, { size: bytes.length })))).toBe(true)
      expect([await list(), await unfinished()]).toEqual([[{ location: at, size: bytes.length }], []])
    }
    const expectNothingAt = async (location = at) => {
      expect(await backend.size(location)).toBeNull()
      await expect(backend.read(location)).rejects.toMatchObject(missing)
    }
    const expectNothingLeft = async () => {
      await expectNothingAt()
      expect([await list(), await unfinished()]).toEqual([[], []])
    }

    describe('assemble', () => {
      it.each([0, 1, partSize - 1, partSize, partSize + 1, 2 * partSize + 1])(
        'makes a version of a single part of %i bytes',
        async (length) => {
          const bytes = someBytes(length)
          await backend.assemble(at, [await write(7, bytes)])
          await expectWhole(bytes)
        },
      )

      it.each<[what: string, lengths: number[]]>([
        ['small ones', [1, 2, 3]],
        ['empty ones between others', [0, 1000, 0, 0, partSize, 0]],
        ['empty ones alone', [0, 0]],
        ['a small one before a large one', [10, 2 * partSize]],
        ['a small one after a large one', [2 * partSize, 10]],
        ['a small one between large ones', [partSize + 1, 10, 2 * partSize + 1]],
        ['small ones among just enough', [partSize, 1, partSize - 1, 1, partSize]],
        ['all a bit too small', [partSize - 1, partSize - 1, partSize - 1, partSize - 1]],
        ['very many', Array.from({ length: 60 }, (_, index) => index * 97)],
      ])('makes a version of parts of any length: %s', async (_, lengths) => {
        const bytes = lengths.map(someBytes)
        await backend.assemble(at, await writeAll(bytes))
        await expectWhole(Buffer.concat(bytes))
      })

      it(`makes one of parts that came in any order, at the same time, through several servers (FAULTS_SEED=${seed})`, async () => {
        const bytes = Array.from({ length: 8 }, () => someBytes(random.below(2 * partSize)))
        const servers = [backend, await openAnother(), await openAnother()]
        const numbers = [1, 2, 3, 5, 8, 1000, 9999, MAX_PART_NUMBER]
        const order = numbers.map((_, index) => index).toSorted(() => random.below(3) - 1)
        const parts: Part[] = []
        await Promise.all(
          order.map(async (index) => {
            const by = servers[index % servers.length]
            parts[index] = await write(numbers[index] ?? 0, bytes[index] ?? Buffer.alloc(0), at, by)
          }),
        )
        await (await openAnother()).assemble(at, parts)
        await expectWhole(Buffer.concat(bytes))
      })

      it('takes those that it is told, in that order, and frees the others', async () => {
        const bytes = [someBytes(1000), someBytes(partSize), someBytes(2000), someBytes(partSize + 5)]
        const parts = await writeAll(bytes)
        await backend.assemble(at, [parts[3], parts[0]].filter(isPart))
        await expectWhole(Buffer.concat([bytes[3], bytes[0]].filter(Buffer.isBuffer)))
      })

      it('takes the one of two with the same number that the caller has kept', async () => {
        const [old, fresh, last] = [someBytes(partSize), someBytes(partSize), someBytes(10)]
        const replaced = await write(1, old)
        const kept = await write(1, fresh)
        await backend.removePart(at, replaced)
        await backend.assemble(at, [kept, await write(2, last)])
        await expectWhole(Buffer.concat([fresh, last]))
      })

      it('is a success a second time, through another server as well', async () => {
        const bytes = [someBytes(partSize), someBytes(1000)]
        const parts = await writeAll(bytes)
        await backend.assemble(at, parts)
        await backend.assemble(at, parts)
        await (await openAnother()).assemble(at, parts)
        await expectWhole(Buffer.concat(bytes))
      })

      it('makes nothing when a part is missing, and leaves the others for another try', async () => {
        const bytes = [someBytes(partSize), someBytes(1000), someBytes(partSize)]
        const parts = await writeAll(bytes)
        const gone = await write(4, someBytes(partSize))
        await backend.removePart(at, gone)
        for (const list of [
          [...parts, gone],
          [gone, ...parts],
          [...parts.slice(0, 1), gone, ...parts],
        ]) {
          await expect(backend.assemble(at, list)).rejects.toMatchObject(missing)
          await expectNothingAt()
        }
        expect(await unfinished()).toHaveLength(3)
        await backend.assemble(at, parts)
        await expectWhole(Buffer.concat(bytes))
      })

      it('says of a version of another length that these parts did not make it, and leaves it', async () => {
        const bytes = someBytes(1000)
        await backend.write(at, bytes, { maxBytes: 1000 })
        const parts = await writeAll([someBytes(10)])
        await expect(backend.assemble(at, parts)).rejects.toMatchObject(missing)
        expect(bytes.equals(await backend.readWhole(at, 1000))).toBe(true)
      })

      it('is not of no part at all', async () => {
        await expect(backend.assemble(at, [])).rejects.toThrow('one part at least')
        await expectNothingLeft()
      })

      it('keeps versions apart that are made at the same time, also in one bucket', async () => {
        const versions = [at, newLocation(at.bucket), newLocation(at.bucket), newLocation()].map((to) => ({
          to,
          bytes: [someBytes(partSize + 10), someBytes(10)],
        }))
        await Promise.all(
          versions.map(async ({ to, bytes }) => backend.assemble(to, await writeAll(bytes, to))),
        )
        for (const { to, bytes } of versions) {
          const whole = Buffer.concat(bytes)
          expect(whole.equals(await buffer(await backend.read(to, { size: whole.length })))).toBe(true)
        }
        expect([(await list()).length, await unfinished()]).toEqual([4, []])
      })

      it.skipIf(inMemory)(`makes ${LARGE} bytes without holding them in memory`, async () => {
        const piece = random.bytes(65_536)
        let peak = 0
        const sample = () => {
          peak = Math.max(peak, heldBytes())
        }
        const pieces = function* (count: number) {
          for (let i = 0; i < count; i++) {
            if (i % CHUNKS_PER_LOOK === 0) sample()
            yield Buffer.from(piece) // memory of its own, as from a socket
          }
        }
        const part = async (number: number, to: Location) =>
          backend.writePart(to, number, Readable.from(pieces(LARGE / 4 / piece.length)), { size: LARGE / 4 })
        await backend.writePart(newLocation(), 1, Readable.from(pieces(320)), { size: 20 * MiB }) // what is needed once
        const before = heldBytes()
        const parts = [await part(1, at), await part(2, at), await part(3, at), await part(4, at)]
        const sampling = setInterval(sample, 200)
        await backend.assemble(at, parts).finally(() => clearInterval(sampling))
        expect(await backend.size(at)).toBe(LARGE)
        expect(peak - before).toBeLessThan(LARGE_GROWTH)
      })
    })

    describe('a claim of its number', () => {
      const large = partSize
      let claims: NumberClaims
      beforeEach(() => {
        claims = new NumberClaims()
      })
      const writeClaimed = (number: number, bytes: Buffer, by = backend) => {
        const claim = by.wantsClaim(bytes.length) ? claims.claim(number) : undefined
        return write(number, bytes, at, by, claim)
      }

      it('changes nothing of what is made of parts, that came in any order and through any server', async () => {
        const bytes = [
          someBytes(large),
          someBytes(large + 1),
          someBytes(2 * large),
          someBytes(large),
          someBytes(9),
        ]
        const numbers = [2, 3, 5, 8, MAX_PART_NUMBER]
        const another = await openAnother()
        const parts: Part[] = []
        for (const index of [3, 0, 4, 1, 2]) {
          const by = index % 2 ? another : backend
          parts[index] = await writeClaimed(numbers[index] ?? 0, bytes[index] ?? Buffer.alloc(0), by)
          await expectNothingAt()
        }
        expect((await unfinished()).length).toBeGreaterThan(0)
        await another.assemble(at, parts)
        await backend.assemble(at, parts)
        await expectWhole(Buffer.concat(bytes))
      })

      it('changes nothing of parts that come through several servers at the same moment', async () => {
        const servers = [backend, await openAnother(), await openAnother()]
        const bytes = Array.from({ length: 6 }, () => someBytes(large + random.below(large)))
        const parts = await Promise.all(
          bytes.map((one, index) => writeClaimed(index + 1, one, servers[index % servers.length])),
        )
        await (await openAnother()).assemble(at, parts)
        await expectWhole(Buffer.concat(bytes))
      })

      it.each(['the old one', 'the new one'])(
        'lets the caller take of two parts of a number, of which one has none: %s',
        async (which) => {
          const [old, fresh, last] = [someBytes(large), someBytes(large), someBytes(large)]
          const another = await openAnother()
          const parts = [await writeClaimed(1, old), await writeClaimed(1, fresh, another)]
          const [kept, other] = which === 'the old one' ? parts : parts.toReversed()
          if (other) await backend.removePart(at, other)
          await another.assemble(at, [kept, await writeClaimed(2, last)].filter(isPart))
          await expectWhole(Buffer.concat([which === 'the old one' ? old : fresh, last]))
        },
      )

      it('lets the caller take of parts of a number that come at the same time', async () => {
        const servers = [backend, await openAnother()]
        const bytes = Array.from({ length: 4 }, () => someBytes(large))
        const parts = await Promise.all(bytes.map((one, index) => writeClaimed(7, one, servers[index % 2])))
        const meant = random.below(bytes.length)
        await backend.assemble(at, parts.slice(meant, meant + 1))
        await expectWhole(bytes[meant] ?? Buffer.alloc(0))
      })

      it('leaves nothing of what is discarded, nor of parts that come afterwards', async () => {
        const another = await openAnother()
        await writeClaimed(1, someBytes(large))
        await writeClaimed(2, someBytes(large), another)
        const early = { claim: claims.claim(3), late: claims.claim(4) }
        claims.hasEnded = true
        await another.discard(at)
        // Both were allowed before it was discarded; the second has not been told of what the first has noted.
        const late = [
          writeOrNot(3, early.claim, another),
          writeOrNot(4, early.late && { ...early.late, notes: null }, await openAnother()),
        ]
        for (const part of await Promise.all(late)) if (part) await backend.removePart(at, part)
        await expectNothingLeft()
        await backend.discard(at)
        await expectNothingLeft()
      })
      const writeOrNot = (number: number, claim: NumberClaim | undefined, by: ResumableBackend) =>
        write(number, someBytes(large), at, by, claim).catch((error) => {
          expect(error).toMatchObject({ code: 'NoSuchUpload' })
        })
    })

    describe('writePart', () => {
      it('shows nobody anything before all is assembled', async () => {
        const bytes = [someBytes(partSize), someBytes(1000)]
        const parts: Part[] = []
        for (const [index, part] of bytes.entries()) {
          parts.push(await write(index + 1, part))
          await expectNothingAt()
          expect(await list()).toEqual([])
        }
        await backend.assemble(at, parts)
        await expectWhole(Buffer.concat(bytes))
      })

      it.each([0, 1000, 2 * partSize])(
        'keeps nothing of a body that breaks after %i bytes',
        async (length) => {
          // A code that would mean something if our own disk said it.
          const reason = Object.assign(new Error('broken'), { code: 'ENOSPC' })
          const body = Readable.from(
            (function* () {
              yield someBytes(length)
              throw reason
            })(),
          )
          await expect(backend.writePart(at, 1, body, { size: 1024 * MiB })).rejects.toBe(reason)
          await expectNothingLeft()
        },
      )

      it('refuses what is too long, keeps nothing of it, and leaves the body to its giver', async () => {
        const tooLong = { code: 'EntityTooLarge' }
        await expect(backend.writePart(at, 1, someBytes(1001), { size: 1000 })).rejects.toMatchObject(tooLong)
        const body = stream(someBytes(4 * partSize), 65_536)
        const sending = backend.writePart(at, 1, body, { size: 2 * partSize })
        await expect(sending).rejects.toMatchObject(tooLong)
        expect(body.destroyed).toBe(false)
        body.destroy()
        await expectNothingLeft()
      })

      it('leaves the part as it was that a failed one was to replace', async () => {
        const bytes = someBytes(1000)
        const part = await write(1, bytes)
        await expect(backend.writePart(at, 1, someBytes(11), { size: 10 })).rejects.toThrow()
        await backend.assemble(at, [part])
        await expectWhole(bytes)
      })

      it.each([0, -1, 1.5, Number.NaN, MAX_PART_NUMBER + 1])('refuses the number %d', async (number) => {
        await expect(backend.writePart(at, number, Buffer.from('x'), { size: 1 })).rejects.toThrow('number')
        await expectNothingLeft()
      })

      it('refuses a location that is not made of two UUIDs', async () => {
        for (const version of ['../../etc/passwd', '', at.version.toUpperCase(), `${at.version}/x`]) {
          const wrong = { bucket: at.bucket, version }
          await expect(backend.writePart(wrong, 1, Buffer.from('x'), { size: 1 })).rejects.toThrow()
        }
      })
    })

    describe('removePart', () => {
      it('frees this one alone, and is content when there is none', async () => {
        const bytes = someBytes(1000)
        const part = await write(1, bytes)
        const other = await write(1, someBytes(partSize))
        await backend.removePart(at, other)
        await (await openAnother()).removePart(at, other)
        expect(await unfinished()).toHaveLength(1)
        await backend.assemble(at, [part])
        await expectWhole(bytes)
      })
    })

    describe('unfinished', () => {
      it('names each part, until it is abandoned', async () => {
        const before = Date.now()
        const other = newLocation(at.bucket)
        const parts = await writeAll([someBytes(10), someBytes(2 * partSize)])
        await write(1, someBytes(5), other)
        const found = await unfinished()
        const versions = found.map(({ location }) => location?.version)
        expect(versions.sort()).toEqual([at.version, at.version, other.version].sort())
        for (const { startedAt, location } of found) {
          expect(location?.bucket).toBe(at.bucket)
          // Stores round to seconds, and have clocks of their own.
          expect(Math.abs(startedAt.getTime() - before)).toBeLessThan(60_000)
        }
        for (const one of found) await backend.abandon(one)
        for (const one of found) await (await openAnother()).abandon(one)
        await expect(backend.assemble(at, parts)).rejects.toMatchObject(missing)
        await expectNothingLeft()
        expect(await backend.removeFolders(at.bucket)).toBe(true)
      })
    })

    describe('discard', () => {
      it.each<[what: string, begin: (parts: Part[]) => Promise<void>]>([
        ['parts', async () => {}],
        ['what is assembled', (parts) => backend.assemble(at, parts)],
      ])('leaves nothing of %s, twice as well, and all of other versions', async (_, begin) => {
        const other = newLocation(at.bucket)
        const bytes = someBytes(1000)
        const kept = await write(1, bytes, other)
        await begin(await writeAll([someBytes(partSize), someBytes(10)]))
        await backend.discard(at)
        await (await openAnother()).discard(at)
        await expectNothingAt()
        await backend.assemble(other, [kept])
        expect([await list(), await unfinished()]).toEqual([[{ location: other, size: 1000 }], []])
      })
    })
  })
}

/** As it comes back from where the caller keeps it. */
function kept(part: Part): Part {
  expect(part.notes.length).toBeLessThan(1000)
  return JSON.parse(JSON.stringify(part))
}

function isPart(part: Part | undefined): part is Part {
  return part !== undefined
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
