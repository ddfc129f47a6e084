import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Backend, Stored, Unfinished } from '../../src/backend/backend.ts'
import { newCheckName } from '../../src/backend/check-name.ts'
import type { Location } from '../../src/model/location.ts'
import { CHUNKS_PER_LOOK, heldBytes, LARGE, LARGE_GROWTH } from './large.ts'

const MiB = 1024 * 1024

export interface BackendTraits {
  /** Whether it holds all bytes in memory, and need not do without that. */
  inMemory?: boolean
  /** More than it learns of at once while it lists. */
  manyEntries?: number
  /** Writes where the open backend is what a check of that name has, as if its process were killed then. */
  leaveCheck?: (name: string) => Promise<void>
  /** Where the bytes in question are; any when left out. What they are compared with is in others. */
  bucket?: string
}

/**
 * The promises of `backend.ts`, asked of any backend.
 *
 * @param open makes an empty backend for one test, which closes it
 */
export function describeBackend(
  name: string,
  open: () => Promise<Backend>,
  { inMemory = false, manyEntries = 300, leaveCheck, bucket }: BackendTraits = {},
): void {
  describe(`${name} keeps the backend contract`, () => {
    let backend: Backend
    let at: Location

    beforeEach(async () => {
      backend = await open()
      at = newLocation(bucket)
    })
    afterEach(() => backend.close())

    const write = (body: Readable | Uint8Array, to = at, maxBytes = 1024 * MiB) =>
      backend.write(to, body, { maxBytes })
    const read = async (from = at, range?: { start: number; end: number }) =>
      buffer(await backend.read(from, range && { range }))
    const list = async (bucket?: string) => {
      const found: Stored[] = []
      for await (const stored of backend.list(bucket)) found.push(stored)
      return found
    }

    const unfinished = async () => {
      const found: Unfinished[] = []
      for await (const one of backend.unfinished()) found.push(one)
      return found
    }

    const expectNothingAt = async (location: Location) => {
      expect(await unfinished()).toEqual([])
      expect(await backend.exists(location)).toBe(false)
      expect(await backend.size(location)).toBeNull()
      await expect(backend.read(location)).rejects.toMatchObject({ code: 'MissingBytes' })
      expect(await list(location.bucket)).toEqual([])
    }

    describe('write', () => {
      const lengths = [0, 1, 4096, 5 * MiB]

      it.each(lengths)(
        'gives back %i bytes that came as one piece, with their length and hash',
        async (n) => {
          const bytes = randomBytes(n)
          expect(await write(bytes)).toEqual({ size: n, sha256: sha256(bytes) })
          expect(bytes.equals(await read())).toBe(true)
        },
      )

      it.each(lengths)('gives back %i bytes that came as a stream of odd chunks', async (n) => {
        const bytes = randomBytes(n)
        expect(await write(stream(bytes, 60_013))).toEqual({ size: n, sha256: sha256(bytes) })
        expect(bytes.equals(await read())).toBe(true)
      })

      it('gives back a stream of very many tiny chunks', async () => {
        const bytes = randomBytes(20_000)
        expect(await write(stream(bytes, 3))).toEqual({ size: bytes.length, sha256: sha256(bytes) })
        expect(bytes.equals(await read())).toBe(true)
      })

      it('needs no chunk any more that it has given back, in the order of the stream', async () => {
        const bytes = randomBytes(3 * MiB)
        const chunks = [...slices(Buffer.from(bytes), 60_013)]
        const givenBack: Uint8Array[] = []
        const giveBack = (some: Uint8Array[]) => {
          givenBack.push(...some)
          writeOver(some)
        }
        const written = await backend.write(at, Readable.from(chunks), { maxBytes: 3 * MiB, giveBack })
        expect(written).toEqual({ size: bytes.length, sha256: sha256(bytes) })
        expect(bytes.equals(await read())).toBe(true)
        expect(givenBack.every((chunk, index) => chunk === chunks[index])).toBe(true)
      })

      it('takes the hash of one piece from a caller who knows it', async () => {
        const bytes = randomBytes(1000)
        const known = sha256(bytes)
        expect(await backend.write(at, bytes, { maxBytes: 1000, sha256: known })).toEqual({
          size: 1000,
          sha256: known,
        })
        expect(bytes.equals(await read())).toBe(true)
      })

      it('starts a body that was paused', async () => {
        const body = stream(Buffer.from('hello'), 2).pause()
        expect(await write(body)).toMatchObject({ size: 5 })
      })

      it.each([0, 1, MiB])('accepts a body of exactly the limit of %i bytes', async (n) => {
        expect(await write(randomBytes(n), at, n)).toMatchObject({ size: n })
        const other = newLocation()
        expect(await write(stream(randomBytes(n), 1000), other, n)).toMatchObject({ size: n })
      })

      it('refuses one piece with a byte too many, and keeps nothing', async () => {
        await expect(write(randomBytes(1001), at, 1000)).rejects.toMatchObject({ code: 'EntityTooLarge' })
        await expectNothingAt(at)
      })

      it('refuses a stream with a byte too many, and keeps nothing', async () => {
        const body = stream(randomBytes(MiB + 1), 65_536)
        await expect(write(body, at, MiB)).rejects.toMatchObject({ code: 'EntityTooLarge' })
        await expectNothingAt(at)
      })

      it('refuses an endless stream at the limit, and leaves the rest to its giver', async () => {
        const body = Readable.from(forever(randomBytes(65_536)))
        await expect(write(body, at, 3 * MiB)).rejects.toMatchObject({ code: 'EntityTooLarge' })
        await expectNothingAt(at)
        expect(body.destroyed).toBe(false)
        body.destroy()
      })

      it.each([0, 1000, 3 * MiB])('keeps nothing of a body that breaks after %i bytes', async (n) => {
        // A code that would mean something if our own disk said it.
        const reason = Object.assign(new Error('broken'), { code: 'ENOSPC' })
        const body = Readable.from(thenThrow(randomBytes(n), reason))
        await expect(write(body)).rejects.toBe(reason)
        await expectNothingAt(at)
      })

      it('keeps nothing of a body that is destroyed halfway without an error', async () => {
        const body = new Readable({
          read() {
            if (!this.readableDidRead) this.push(randomBytes(1000))
            else this.destroy()
          },
        })
        await expect(write(body)).rejects.toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' })
        await expectNothingAt(at)
      })

      it('keeps nothing of a body that was destroyed before', async () => {
        const body = stream(randomBytes(1000), 100)
        body.destroy()
        await expect(write(body)).rejects.toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' })
        await expectNothingAt(at)
      })

      it('keeps nothing of a body that breaks just as the write begins', async () => {
        const body = new Readable({ read() {} })
        const reason = new Error('broken early')
        const writing = write(body)
        body.destroy(reason)
        await expect(writing).rejects.toBe(reason)
        await expectNothingAt(at)
      })

      it('keeps nothing of a body that someone has read already', async () => {
        const body = stream(randomBytes(1000), 100)
        await buffer(body)
        await expect(write(body)).rejects.toThrow()
        await expectNothingAt(at)
      })

      it('keeps nothing of a body that does not consist of bytes', async () => {
        await expect(write(Readable.from([{ not: 'bytes' }]))).rejects.toThrow()
        await expectNothingAt(at)
      })

      it('keeps nothing when the client goes away in the middle of an upload', async () => {
        const server = createServer().listen(0, '127.0.0.1')
        await once(server, 'listening')
        const { port } = server.address() as AddressInfo // it listens on a port, not on a pipe
        const headers = { 'content-length': 10 * MiB }
        const client = request({ host: '127.0.0.1', port, method: 'POST', headers }).on('error', () => {})
        client.write(randomBytes(100_000))
        const [incoming] = await once(server, 'request')
        const outcome = write(incoming).catch((error) => error)
        incoming.once('data', () => client.destroy())
        expect(await outcome).toBeInstanceOf(Error)
        server.close()
        await expectNothingAt(at)
      })

      it('refuses a version that exists, and leaves its bytes as they were', async () => {
        await write(Buffer.from('first'))
        await expect(write(Buffer.from('second'))).rejects.toThrow()
        await expect(write(stream(Buffer.from('third'), 2))).rejects.toThrow()
        expect((await read()).toString()).toBe('first')
      })

      describe('of a version that a row names already', () => {
        const writeNamed = (body: Readable | Uint8Array, maxBytes = 1024 * MiB) =>
          backend.write(at, body, { maxBytes, isNamed: true })

        it.each([0, 1000, 5 * MiB])('gives back %i bytes, as one piece or as a stream', async (n) => {
          const bytes = randomBytes(n)
          expect(await writeNamed(bytes)).toEqual({ size: n, sha256: sha256(bytes) })
          expect(bytes.equals(await read())).toBe(true)
          await backend.remove(at)
          expect(await writeNamed(stream(bytes, 60_013))).toEqual({ size: n, sha256: sha256(bytes) })
          expect(bytes.equals(await read())).toBe(true)
          expect(await list()).toHaveLength(1)
        })

        it('shows a reader nothing before all of it is there', async () => {
          const bytes = randomBytes(3 * MiB)
          const met: unknown[] = []
          const body = Readable.from(
            (async function* () {
              for (const piece of slices(bytes, 65_536)) {
                yield piece
                met.push(await backend.size(at))
                if (met.length % 8 === 0) met.push(await backend.read(at).catch((error) => error.code))
              }
            })(),
          )
          await writeNamed(body)
          expect(new Set(met)).toEqual(new Set([null, 'MissingBytes']))
          expect(bytes.equals(await read())).toBe(true)
        })

        it('keeps nothing of a body that breaks halfway, or is too long', async () => {
          const reason = new Error('broken')
          const body = Readable.from(thenThrow(randomBytes(MiB), reason))
          await expect(writeNamed(body)).rejects.toBe(reason)
          await expectNothingAt(at)
          const long = stream(randomBytes(1001), 100)
          await expect(writeNamed(long, 1000)).rejects.toMatchObject({ code: 'EntityTooLarge' })
          await expectNothingAt(at)
        })

        it('refuses one that exists, and leaves its bytes as they were', async () => {
          await write(Buffer.from('first'))
          await expect(writeNamed(Buffer.from('second'))).rejects.toThrow()
          expect((await read()).toString()).toBe('first')
          expect(await list()).toHaveLength(1)
        })
      })

      it('keeps apart what is written at the same time', async () => {
        const uploads = Array.from({ length: 20 }, (_, i) => ({
          to: { bucket: i % 2 ? at.bucket : randomUUID(), version: randomUUID() },
          bytes: randomBytes(i * 50_000),
        }))
        await Promise.all(uploads.map(({ to, bytes }, i) => write(i % 3 ? stream(bytes, 10_007) : bytes, to)))
        for (const { to, bytes } of uploads) expect(bytes.equals(await read(to))).toBe(true)
      })

      it('refuses a location that is not made of two UUIDs', async () => {
        for (const version of ['../../etc/passwd', '', at.version.toUpperCase(), `${at.version}/x`]) {
          await expect(write(Buffer.from('x'), { bucket: at.bucket, version })).rejects.toThrow()
          await expect(read({ bucket: version, version: at.version })).rejects.toThrow()
        }
      })
    })

    describe('read', () => {
      const bytes = randomBytes(200_000)
      const last = bytes.length - 1

      it.each([
        ['the first byte', 0, 0],
        ['the last byte', last, last],
        ['the middle', 50_000, 149_999],
        ['everything', 0, last],
      ])('gives %s when asked for just that', async (_, start, end) => {
        await write(bytes)
        expect(bytes.subarray(start, end + 1).equals(await read(at, { start, end }))).toBe(true)
      })

      it('gives the slice that any range names', async () => {
        await write(bytes)
        const position = fc.integer({ min: 0, max: last })
        await fc.assert(
          fc.asyncProperty(position, position, async (a, b) => {
            const [start, end] = a < b ? [a, b] : [b, a]
            expect(bytes.subarray(start, end + 1).equals(await read(at, { start, end }))).toBe(true)
          }),
          { numRuns: 50 },
        )
      })

      it('gives a range of a large object that crosses its chunks', async () => {
        const large = randomBytes(3 * MiB)
        await write(large)
        const range = { start: MiB / 2 - 1, end: 2 * MiB + 1 }
        expect(large.subarray(range.start, range.end + 1).equals(await read(at, range))).toBe(true)
      })

      it('says that bytes are missing before it gives a stream', async () => {
        await expect(backend.read(at)).rejects.toMatchObject({ code: 'MissingBytes' })
        await expect(backend.read(at, { range: { start: 0, end: 1 } })).rejects.toMatchObject({
          code: 'MissingBytes',
        })
      })

      it.each([0, 199_999, 200_001])(
        'takes 200000 bytes for missing when there should be %i',
        async (size) => {
          await write(bytes)
          await expect(backend.read(at, { size })).rejects.toMatchObject({ code: 'MissingBytes' })
          const range = { start: 0, end: 9 }
          await expect(backend.read(at, { size, range })).rejects.toMatchObject({ code: 'MissingBytes' })
          expect(bytes.equals(await buffer(await backend.read(at, { size: bytes.length })))).toBe(true)
        },
      )

      it('can be broken off halfway, or before it began', async () => {
        await write(randomBytes(5 * MiB))
        const half = await backend.read(at)
        await once(half, 'data')
        half.destroy()
        const unread = await backend.read(at)
        unread.destroy()
        await Promise.all([half, unread].map((body) => body.closed || once(body, 'close')))
        expect((await read()).length).toBe(5 * MiB)
      })

      it('serves many readers at once', async () => {
        await write(bytes)
        const copies = await Promise.all(Array.from({ length: 20 }, () => read()))
        expect(copies.every((copy) => copy.equals(bytes))).toBe(true)
      })
    })

    describe('readWhole', () => {
      it.each([0, 1, 4096, 262_144])('gives all of %i bytes', async (n) => {
        const bytes = randomBytes(n)
        await write(bytes)
        const whole = await backend.readWhole(at, n)
        expect(whole.length).toBe(n)
        expect(bytes.equals(whole)).toBe(true)
      })

      it.each([0, 999, 1001, 2000])('takes 1000 bytes for missing when there should be %i', async (n) => {
        await write(randomBytes(1000))
        await expect(backend.readWhole(at, n)).rejects.toMatchObject({ code: 'MissingBytes' })
      })

      it('says when bytes are missing', async () => {
        await expect(backend.readWhole(at, 0)).rejects.toMatchObject({ code: 'MissingBytes' })
      })
    })

    describe('copy', () => {
      const bytes = randomBytes(100_000)

      it('gives a copy that outlives its source, also in another bucket', async () => {
        const [near, far] = [newLocation(at.bucket), newLocation()]
        await write(bytes)
        await backend.copy(at, near)
        await backend.copy(at, far)
        await backend.remove(at)
        expect(bytes.equals(await read(near))).toBe(true)
        expect(bytes.equals(await read(far))).toBe(true)
        expect(await backend.exists(at)).toBe(false)
      })

      it('leaves its source when the copy is removed', async () => {
        const to = newLocation()
        await write(bytes)
        await backend.copy(at, to)
        await backend.remove(to)
        expect(bytes.equals(await read())).toBe(true)
      })

      it('says when the source is missing, and makes nothing', async () => {
        const to = newLocation()
        await expect(backend.copy(at, to)).rejects.toMatchObject({ code: 'MissingBytes' })
        await expectNothingAt(to)
      })

      it('refuses a version that exists, and leaves its bytes as they were', async () => {
        const to = newLocation()
        await write(bytes)
        await write(Buffer.from('there before'), to)
        await expect(backend.copy(at, to)).rejects.toThrow()
        expect((await read(to)).toString()).toBe('there before')
      })

      it('lists the copy as written now, so that no cleanup takes it for an old leftover', async () => {
        const to = newLocation()
        await write(bytes)
        const [source] = await list(at.bucket)
        await backend.copy(at, to)
        const [copied] = await list(to.bucket)
        expect(copied?.modifiedAt.getTime()).toBeGreaterThanOrEqual(source?.modifiedAt.getTime() ?? Infinity)
      })
    })

    describe('remove', () => {
      it('removes the bytes, and is content when there are none', async () => {
        await write(Buffer.from('x'))
        await backend.remove(at)
        await expectNothingAt(at)
        await backend.remove(at)
        await backend.remove(newLocation())
      })

      it('touches nothing else', async () => {
        const other = newLocation(at.bucket)
        await write(Buffer.from('x'))
        await write(Buffer.from('other'), other)
        await backend.remove(at)
        expect((await read(other)).toString()).toBe('other')
      })
    })

    describe('size and exists', () => {
      it('tell the length of what is there', async () => {
        const empty = newLocation()
        await write(randomBytes(1234))
        await write(new Uint8Array(0), empty)
        expect(await backend.size(at)).toBe(1234)
        expect(await backend.exists(at)).toBe(true)
        expect(await backend.size(empty)).toBe(0)
        expect(await backend.exists(empty)).toBe(true)
      })

      it('tell that nothing is there', async () => {
        expect(await backend.size(at)).toBeNull()
        expect(await backend.exists(at)).toBe(false)
      })
    })

    describe('file', () => {
      it('names a file of exactly these bytes, or none', async () => {
        const bytes = randomBytes(1234)
        await write(bytes)
        const file = await backend.file(at)
        expect(file === null || (await readFile(file.path)).equals(bytes)).toBe(true)
        if (file !== null) expect(file.size).toBe(bytes.length)
        expect(await backend.file(newLocation())).toBeNull()
      })
    })

    describe('removeFolders', () => {
      it('leaves nothing of a bucket whose bytes are gone, twice as well', async () => {
        await write(randomBytes(10))
        await backend.remove(at)
        expect(await backend.removeFolders(at.bucket)).toBe(true)
        expect(await backend.removeFolders(at.bucket)).toBe(true)
        await write(randomBytes(10))
        expect(await backend.exists(at)).toBe(true)
      })

      it('leaves bytes alone, and says that something is left', async () => {
        await write(Buffer.from('still here'))
        const other = newLocation(at.bucket)
        await write(randomBytes(10), other)
        await backend.remove(other)
        expect(await backend.removeFolders(at.bucket)).toBe(false)
        expect((await read()).toString()).toBe('still here')
      })
    })

    describe('list', () => {
      it('finds exactly what is stored, in all buckets or in one', async () => {
        const expected = new Map<string, number>()
        const locations = [at, newLocation(at.bucket), newLocation(at.bucket), newLocation(), newLocation()]
        for (const [i, location] of locations.entries()) {
          await write(randomBytes(i * 100), location)
          expected.set(key(location), i * 100)
        }
        const sizes = (found: Stored[]) => new Map(found.map(({ location, size }) => [key(location), size]))

        const all = await list()
        expect(all).toHaveLength(5)
        expect(sizes(all)).toEqual(expected)

        const inBucket = await list(at.bucket)
        expect(inBucket).toHaveLength(3)
        expect(sizes(inBucket)).toEqual(new Map([...expected].slice(0, 3)))
      })

      it('tells when the bytes were written', async () => {
        const before = Date.now()
        await write(Buffer.from('x'))
        const [stored] = await list()
        // Stores round to seconds, and have clocks of their own.
        expect(Math.abs((stored?.modifiedAt.getTime() ?? 0) - before)).toBeLessThan(60_000)
      })

      it('finds nothing in an empty store or an unknown bucket', async () => {
        expect(await list()).toEqual([])
        expect(await list(randomUUID())).toEqual([])
      })

      it('goes on when what it lists is removed meanwhile', async () => {
        const locations = Array.from({ length: 30 }, () => newLocation())
        for (const location of locations) await write(Buffer.from('x'), location)
        let found = 0
        for await (const { location } of backend.list()) {
          if (found === 0)
            await Promise.all(locations.map((gone) => key(gone) !== key(location) && backend.remove(gone)))
          found += 1
        }
        expect(found).toBeGreaterThanOrEqual(1)
        expect(found).toBeLessThanOrEqual(30)
      })

      it(`streams ${manyEntries} entries, each once, and can be left early`, async () => {
        const versions = Array.from({ length: manyEntries }, () => randomUUID())
        for (let i = 0; i < versions.length; i += 50) {
          const some = versions.slice(i, i + 50)
          await Promise.all(some.map((version) => write(new Uint8Array(1), { bucket: at.bucket, version })))
        }
        const found: string[] = []
        for await (const { location } of backend.list()) found.push(location.version)
        expect(found.sort()).toEqual(versions.sort())

        for await (const { location } of backend.list(at.bucket)) {
          expect(location.bucket).toBe(at.bucket)
          break
        }
      })
    })

    it('finds itself in order, and leaves no trace of the check', async () => {
      await backend.check()
      await Promise.all([backend.check(), backend.check()])
      expect([await list(), await unfinished()]).toEqual([[], []])
    })

    it.skipIf(!leaveCheck)('names what a killed check has left, of no version, and frees it', async () => {
      const [left, other] = [newCheckName(), newCheckName()]
      const before = Date.now()
      for (const name of [left, other, '.check-of-somebody-else']) await leaveCheck?.(name)
      await backend.check()
      const found = (await unfinished()).sort((a, b) => (a.id < b.id ? -1 : 1))
      expect(found).toEqual(
        [left, other].sort().map((name) => ({
          location: null,
          id: expect.stringContaining(name),
          startedAt: expect.any(Date),
        })),
      )
      for (const { startedAt } of found) expect(startedAt.getTime()).toBeGreaterThan(before - 60_000)
      expect(await list()).toEqual([])

      const [first] = found
      if (first) for (let i = 0; i < 2; i++) await backend.abandon(first) // once more is a success
      expect(await unfinished()).toEqual(found.slice(1))
    })

    it.skipIf(inMemory)(`moves ${LARGE} bytes in and out without holding them in memory`, async () => {
      const chunk = randomBytes(65_536)
      const count = LARGE / chunk.length
      let peak = 0
      const sample = () => {
        peak = Math.max(peak, heldBytes())
      }
      const chunks = function* () {
        for (let i = 0; i < count; i++) {
          if (i % CHUNKS_PER_LOOK === 0) sample()
          yield Buffer.from(chunk) // memory of its own, as from a socket
        }
      }
      await write(stream(randomBytes(8 * MiB), 65_536), newLocation()) // what is needed once
      const before = heldBytes()

      expect(await write(Readable.from(chunks()))).toMatchObject({ size: LARGE })
      let length = 0
      let looked = 0
      for await (const piece of await backend.read(at)) {
        length += piece.length
        if (length - looked < CHUNKS_PER_LOOK * chunk.length) continue
        looked = length
        sample()
      }
      expect(length).toBe(LARGE)
      expect(peak - before).toBeLessThan(LARGE_GROWTH)
    })
  })
}

/** A new version in `bucket`, or in a new one. */
export function newLocation(bucket: string = randomUUID()): Location {
  return { bucket, version: randomUUID() }
}

/** `bytes` as a stream with chunks of `chunkBytes`. */
/** As whoever has use for the memory of chunks that were given back. */
export function writeOver(chunks: Uint8Array[]): void {
  for (const chunk of chunks) chunk.fill(0xff)
}

export function stream(bytes: Uint8Array, chunkBytes: number): Readable {
  return Readable.from(slices(bytes, chunkBytes))
}

function* slices(bytes: Uint8Array, chunkBytes: number) {
  for (let i = 0; i < bytes.length; i += chunkBytes) yield bytes.subarray(i, i + chunkBytes)
}

function* forever(chunk: Uint8Array) {
  for (;;) yield chunk
}

function* thenThrow(bytes: Uint8Array, reason: Error) {
  yield* slices(bytes, 65_536)
  throw reason
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function key({ bucket, version }: Location): string {
  return `${bucket}/${version}`
}
