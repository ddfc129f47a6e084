import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Unfinished } from '../../src/backend/backend.ts'
import {
  type AppendOptions,
  NOTHING_YET,
  type Progress,
  type ResumableBackend,
} from '../../src/backend/resumable-backend.ts'
import type { Location } from '../../src/model/location.ts'
import { newSeed, Random } from '../faults/random.ts'
import { until } from '../support/wait.ts'
import { newLocation, stream, writeOver } from './contract.ts'
import { CHUNKS_PER_LOOK, heldBytes, LARGE, LARGE_GROWTH } from './large.ts'

const MiB = 1024 * 1024

/**
 * The promises of `backend.ts` about versions that arrive in chunks, asked of any backend.
 *
 * @param openStore makes an empty store for one test. What it gives back opens a backend on that store, as each of
 *   several servers does; the suite closes them
 * @param partSize a length in bytes around which a backend may go wrong, such as that of a part it sends
 */
export function describeAppend(
  name: string,
  openStore: () => Promise<() => Promise<ResumableBackend>>,
  partSize = 512 * 1024,
  { inMemory = false }: { inMemory?: boolean } = {},
): void {
  describe(`${name} keeps the contract about chunks`, () => {
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
      vi.restoreAllMocks()
      // The store of the tests keeps all in memory.
      if (!backend.isLocal) for await (const { location } of backend.list()) await backend.discard(location)
      for (const opened of backends) await opened.close()
    })

    const seed = newSeed()
    const random = new Random(seed)
    const block = random.bytes(MiB)
    /** Bytes that are nowhere the same. */
    const someBytes = (length: number) => {
      const bytes = Buffer.alloc(length)
      for (let i = 0; i < length; i += MiB) block.copy(bytes, i)
      for (let i = 0; i + 4 <= length; i += 4096) bytes.writeUInt32LE(random.below(2 ** 32), i)
      return bytes
    }

    const append = (from: Progress, body: Readable, options: Partial<AppendOptions> = {}, to = at) =>
      backend.append(to, from, body, {
        maxBytes: 1024 * MiB,
        size: null,
        signal: new AbortController().signal,
        tap: () => {},
        onProgress: async () => {},
        ...options,
      })

    /** Sends one chunk that arrives whole. @returns how far the version has come */
    const add = async (from: Progress, bytes: Buffer, size: number | null = null, to = at) => {
      const seen: Uint8Array[] = []
      const tap = (chunk: Uint8Array) => void seen.push(Buffer.from(chunk))
      const { progress, cut } = await append(
        from,
        stream(Buffer.from(bytes), 60_013),
        { size, tap, giveBack: writeOver },
        to,
      )
      expect(cut).toBeNull()
      expect(Buffer.concat(seen).equals(bytes)).toBe(true)
      expect(progress.offset).toBe(from.offset + bytes.length)
      return kept(progress)
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

    const expectWhole = async (bytes: Buffer, location = at) => {
      const { length } = bytes
      expect(await backend.size(location)).toBe(length)
      expect(bytes.equals(await buffer(await backend.read(location, { size: length })))).toBe(true)
      expect(bytes.equals(await backend.readWhole(location, length))).toBe(true)
      if (length < 2) return
      const range = { start: length >> 1, end: length - 1 }
      expect(bytes.subarray(range.start).equals(await buffer(await backend.read(location, { range })))).toBe(
        true,
      )
    }
    const expectNothingLeft = async () => {
      expect([await list(), await unfinished()]).toEqual([[], []])
      expect([await backend.exists(at), await backend.size(at)]).toEqual([false, null])
    }

    /** Goes on from `progress` until all of `bytes` is there, and looks whether it is. */
    const finish = async (progress: Progress, bytes: Buffer) => {
      const end = await add(progress, bytes.subarray(progress.offset), bytes.length)
      await backend.complete(at, end)
      await expectWhole(bytes)
      expect([await list(), await unfinished()]).toEqual([[{ location: at, size: bytes.length }], []])
    }
    /** The same after a chunk that is forgotten: what it has left may wait for the cleanup, which does no harm. */
    const finishAfterAll = async (progress: Progress, bytes: Buffer) => {
      const end = await add(progress, bytes.subarray(progress.offset), bytes.length)
      await backend.complete(at, end)
      await expectWhole(bytes)
      for (const one of await unfinished()) await backend.abandon(one)
      await expectWhole(bytes)
      expect([await list(), await unfinished()]).toEqual([[{ location: at, size: bytes.length }], []])
    }

    const sizes = [0, 1, 4096, partSize - 1, partSize, partSize + 1, 2 * partSize]

    describe('append and complete', () => {
      it.each(sizes)('give back %i bytes that came as one chunk', async (length) => {
        await finish(NOTHING_YET, someBytes(length))
      })

      it.each([1, partSize, partSize + 1])(
        'give back %i bytes whose length an empty last chunk told',
        async (length) => {
          const bytes = someBytes(length)
          await finish(await add(NOTHING_YET, bytes), bytes)
        },
      )

      it.each(['at the start', 'with the last chunk'])(
        `give back many chunks that came through several servers, their length told %s (FAULTS_SEED=${seed})`,
        async (when) => {
          const edges = [0, 1, 1, 1000, partSize - 1, partSize, partSize + 1, random.below(2 * partSize), 0]
          const lengths = edges.toSorted(() => random.below(3) - 1)
          const bytes = someBytes(lengths.reduce((sum, length) => sum + length, 0))
          const size = when === 'at the start' ? bytes.length : null
          let progress = NOTHING_YET
          for (const length of lengths) {
            const chunk = bytes.subarray(progress.offset, progress.offset + length)
            const isLast = progress.offset + length === bytes.length
            progress = await add(progress, chunk, isLast ? bytes.length : size)
            backend = await openAnother()
          }
          await backend.complete(at, progress)
          await expectWhole(bytes)
          expect(await unfinished()).toEqual([])
        },
      )

      it('keep a byte at a time', async () => {
        const bytes = someBytes(10)
        let progress = NOTHING_YET
        for (const byte of bytes) progress = await add(progress, Buffer.from([byte]), bytes.length)
        await finish(progress, bytes)
      })

      it('keep versions apart that arrive at the same time, also in one bucket', async () => {
        const uploads = [at, newLocation(at.bucket), newLocation(at.bucket), newLocation()].map((to, i) => ({
          to,
          bytes: someBytes(partSize + i * 1000),
          cut: random.below(partSize),
        }))
        await Promise.all(
          uploads.map(async ({ to, bytes, cut }) => {
            const progress = await add(NOTHING_YET, bytes.subarray(0, cut), bytes.length, to)
            const end = await add(progress, bytes.subarray(cut), bytes.length, to)
            await backend.complete(to, end)
          }),
        )
        for (const { to, bytes } of uploads) await expectWhole(bytes, to)
        expect(await list()).toHaveLength(4)
      })

      it.skipIf(inMemory)(`move ${LARGE} bytes in without holding them in memory`, async () => {
        const chunk = random.bytes(65_536)
        let peak = 0
        const chunks = function* (count: number) {
          for (let i = 0; i < count; i++) {
            if (i % CHUNKS_PER_LOOK === 0) peak = Math.max(peak, heldBytes())
            yield Buffer.from(chunk) // memory of its own, as from a socket
          }
        }
        await append(NOTHING_YET, Readable.from(chunks(320)), {}, newLocation()) // what is needed once
        const before = heldBytes()
        let progress = NOTHING_YET
        for (let fourth = 0; fourth < 4; fourth++) {
          const quarter = Readable.from(chunks(LARGE / 4 / chunk.length))
          progress = (await append(progress, quarter, { size: LARGE })).progress
        }
        await backend.complete(at, kept(progress))
        expect(await backend.size(at)).toBe(LARGE)
        expect(peak - before).toBeLessThan(LARGE_GROWTH)
      })
    })

    describe('complete', () => {
      it('is a success a second time, and leaves the bytes as they are', async () => {
        const bytes = someBytes(partSize + 5)
        const end = await add(NOTHING_YET, bytes, bytes.length)
        await backend.complete(at, end)
        await (await openAnother()).complete(at, end)
        await expectWhole(bytes)
      })

      it('never cuts what is complete', async () => {
        const bytes = someBytes(1000)
        const end = await add(NOTHING_YET, bytes, bytes.length)
        await backend.complete(at, end)
        const less = { ...end, offset: 500 }
        await expect(backend.complete(at, less)).rejects.toMatchObject({ code: 'MissingBytes' })
        await expectWhole(bytes)
      })

      it('makes an empty version of no chunk at all, twice as well', async () => {
        await backend.complete(at, NOTHING_YET)
        await backend.complete(at, NOTHING_YET)
        await expectWhole(Buffer.alloc(0))
      })

      it('leaves nothing to be read as the whole before the last byte has come', async () => {
        const bytes = someBytes(partSize + 5)
        const missing = { code: 'MissingBytes' }
        let progress = NOTHING_YET
        for (const length of [1, partSize, 3]) {
          const chunk = bytes.subarray(progress.offset, progress.offset + length)
          progress = await add(progress, chunk, bytes.length)
          await expect(backend.read(at, { size: bytes.length })).rejects.toMatchObject(missing)
          await expect(backend.readWhole(at, bytes.length)).rejects.toMatchObject(missing)
        }
        await finish(progress, bytes)
      })

      it('says that bytes are missing', async () => {
        const missing = { code: 'MissingBytes' }
        await expect(backend.complete(at, { offset: 5, notes: null })).rejects.toMatchObject(missing)
        const progress = await add(NOTHING_YET, someBytes(1000))
        const more = { ...progress, offset: 1001 }
        await expect(backend.complete(at, more)).rejects.toMatchObject(missing)
        await backend.discard(at)
        await expect(backend.complete(at, progress)).rejects.toMatchObject(missing)
        await expectNothingLeft()
      })
    })

    describe('a chunk that is cut', () => {
      /** Sends `bytes`; once all have been seen does what `stop` says, and waits for what `append` makes of it. */
      const sendUntil = async (bytes: Buffer, stop: (body: Readable) => void, signal?: AbortSignal) => {
        const first = someBytes(1000)
        const from = await add(NOTHING_YET, first)
        const body = endless(bytes)
        let seen = 0
        const tap = (chunk: Uint8Array) => {
          seen += chunk.length
          if (seen === bytes.length) setImmediate(stop, body)
        }
        const appending = append(from, body, { tap, ...(signal && { signal }) })
        if (bytes.length === 0) stop(body)
        const { progress, cut } = await appending
        expect(seen).toBe(bytes.length)
        expect(progress.offset).toBe(1000 + bytes.length)
        return { progress: kept(progress), cut, body, sent: Buffer.concat([first, bytes]) }
      }
      const lengths = [0, 1000, partSize + 1000]

      it.each(lengths)('keeps %i bytes that have come of a body that breaks', async (length) => {
        // A code that would mean something if our own disk said it.
        const reason = Object.assign(new Error('broken'), { code: 'ENOSPC' })
        const { progress, cut, sent } = await sendUntil(someBytes(length), (body) => body.destroy(reason))
        expect(cut).toBe(reason)
        await finish(progress, Buffer.concat([sent, someBytes(partSize)]))
      })

      it.each(lengths)('keeps %i bytes of a body that is destroyed without an error', async (length) => {
        const { progress, cut, sent } = await sendUntil(someBytes(length), (body) => body.destroy())
        expect(cut).toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' })
        await finish(progress, sent)
      })

      it.each(lengths)(
        'keeps %i bytes that came before the signal, and leaves the body to its giver',
        async (length) => {
          const stopper = new AbortController()
          const reason = new Error('somebody else goes on')
          const stop = () => stopper.abort(reason)
          const { progress, cut, body, sent } = await sendUntil(someBytes(length), stop, stopper.signal)
          expect(cut).toBe(reason)
          expect([body.destroyed, body.isPaused()]).toEqual([false, true])
          body.push('more')
          body.push(null)
          expect((await buffer(body)).toString()).toBe('more')
          await finish(progress, Buffer.concat([sent, someBytes(1000)]))
        },
      )

      it('takes nothing after a signal that was given before', async () => {
        const body = stream(someBytes(1000), 100)
        const reason = new Error('too late')
        const { progress, cut } = await append(NOTHING_YET, body, { signal: AbortSignal.abort(reason) })
        expect([progress.offset, cut, body.destroyed]).toEqual([0, reason, false])
        body.destroy()
        await finish(kept(progress), someBytes(500))
      })

      it('takes nothing of a body that was destroyed before', async () => {
        const from = await add(NOTHING_YET, someBytes(1000))
        const body = stream(someBytes(1000), 100)
        body.destroy()
        const { progress, cut } = await append(from, body)
        expect([progress.offset, cut]).toEqual([1000, expect.any(Error)])
      })

      it('keeps what has come when the client goes away', async () => {
        const bytes = someBytes(partSize + 100_000)
        const server = createServer().listen(0, '127.0.0.1')
        await once(server, 'listening')
        const { port } = server.address() as AddressInfo // it listens on a port, not on a pipe
        const headers = { 'content-length': 2 * bytes.length }
        const client = request({ host: '127.0.0.1', port, method: 'PATCH', headers }).on('error', () => {})
        client.write(bytes)
        const [incoming] = await once(server, 'request')
        let seen = 0
        const tap = (chunk: Uint8Array) => {
          seen += chunk.length
          if (seen === bytes.length) client.destroy()
        }
        const { progress, cut } = await append(NOTHING_YET, incoming, { tap })
        server.close()
        expect([progress.offset, cut]).toEqual([seen, expect.any(Error)])
        await finish(kept(progress), bytes)
      })
    })

    describe('append goes back', () => {
      const firsts = [0, 1000, partSize, partSize + 1]

      it.each(firsts)('to %i bytes after a chunk that was too long', async (length) => {
        const bytes = someBytes(length + 2 * partSize)
        const from = length === 0 ? NOTHING_YET : await add(NOTHING_YET, bytes.subarray(0, length))
        const body = endless(someBytes(2 * partSize + 1))
        const sending = append(from, body, { maxBytes: 2 * partSize })
        await expect(sending).rejects.toMatchObject({ code: 'EntityTooLarge' })
        expect(body.destroyed).toBe(false)
        body.destroy()
        await finishAfterAll(from, bytes)
      })

      it.each(firsts)('to %i bytes after a chunk that the caller does not want', async (length) => {
        const bytes = someBytes(length + 1000)
        const from = length === 0 ? NOTHING_YET : await add(NOTHING_YET, bytes.subarray(0, length))
        await add(from, someBytes(partSize + 5))
        await add(from, someBytes(5))
        await finishAfterAll(from, bytes)
      })

      it('to nothing, for an empty version', async () => {
        await add(NOTHING_YET, someBytes(1000))
        await finishAfterAll(NOTHING_YET, Buffer.alloc(0))
      })

      it('takes a chunk of exactly the limit', async () => {
        const bytes = someBytes(partSize)
        const { progress } = await append(NOTHING_YET, stream(bytes, 1000), { maxBytes: partSize })
        await finish(kept(progress), bytes)
      })
    })

    describe('onProgress', () => {
      /** A body without end, of which `sent` grows; made fast by a clock that runs ahead. */
      const long = () => {
        let clock = performance.now()
        vi.spyOn(performance, 'now').mockImplementation(() => {
          clock += 1000
          return clock
        })
        const sent: Buffer[] = []
        const body = Readable.from(
          (async function* () {
            for (let i = 0; i < 2048; i++) {
              await nextTurn()
              yield someBytes(65_536)
            }
          })(),
        )
        return { body, sent, tap: (chunk: Uint8Array) => void sent.push(Buffer.from(chunk)) }
      }

      it('tells from where to go on when the server has died', async () => {
        const { body, sent, tap } = long()
        const from = await add(NOTHING_YET, someBytes(1000).fill(1))
        const told: Progress[] = []
        const stopper = new AbortController()
        let running = 0
        const onProgress = async (progress: Progress) => {
          told.push(kept(progress))
          const length = sent.reduce((sum, { length }) => sum + length, 1000)
          expect([progress.offset <= length, ++running]).toEqual([true, 1])
          // Meanwhile more arrives, if the backend goes on.
          for (let turn = 0; turn < 20; turn++) await nextTurn()
          running--
          if (told.length === 3) stopper.abort()
        }
        const { progress } = await append(from, body, { tap, onProgress, signal: stopper.signal })
        body.destroy()
        expect(running).toBe(0)
        const offsets = [from, ...told, progress].map(({ offset }) => offset)
        expect(offsets).toEqual(offsets.toSorted((a, b) => a - b))
        expect(told.length).toBeGreaterThanOrEqual(3)

        // What append returned is lost with the server.
        const last = told.at(-1) ?? NOTHING_YET
        expect(last.offset).toBeGreaterThan(1000)
        backend = await openAnother()
        const bytes = Buffer.concat([Buffer.alloc(1000, 1), ...sent]).subarray(0, last.offset)
        await finishAfterAll(last, Buffer.concat([bytes, someBytes(1000)]))
      })

      it('is heard to the end before a chunk that is too long is refused', async () => {
        const { body } = long()
        let running = 0
        const onProgress = async () => {
          running++
          for (let turn = 0; turn < 200; turn++) await nextTurn()
          running--
        }
        const sending = append(NOTHING_YET, body, { maxBytes: 3 * partSize, onProgress })
        await expect(sending).rejects.toMatchObject({ code: 'EntityTooLarge' })
        expect(running).toBe(0)
        body.destroy()
        await finishAfterAll(NOTHING_YET, someBytes(1000))
      })

      it('ends the chunk when it fails, with its error and nothing still under way', async () => {
        const { body, sent, tap } = long()
        const bytes = someBytes(partSize + 1000)
        const from = await add(NOTHING_YET, bytes.subarray(0, 1000))
        const reason = new Error('the row is gone')
        const onProgress = vi.fn().mockRejectedValue(reason)
        await expect(append(from, body, { tap, onProgress })).rejects.toBe(reason)
        expect([body.destroyed, body.isPaused(), onProgress.mock.calls.length]).toEqual([false, true, 1])
        const { length } = sent
        for (let turn = 0; turn < 20; turn++) await nextTurn()
        expect([sent.length, onProgress.mock.calls.length]).toEqual([length, 1])
        body.destroy()
        await finishAfterAll(from, bytes)
      })
    })

    describe('append to what is not here', () => {
      const expectUntouched = async (from: Progress) => {
        const bytes = someBytes(1000)
        const body = stream(bytes, 100)
        const tap = vi.fn()
        await expect(append(from, body, { tap })).rejects.toMatchObject({ code: 'MissingBytes' })
        expect([tap.mock.calls, body.destroyed]).toEqual([[], false])
        expect(bytes.equals(await buffer(body))).toBe(true)
      }

      it('says so before it reads of the body, and makes nothing', async () => {
        await expectUntouched({ offset: 5, notes: null })
        await expectNothingLeft()
      })

      it('says so after a discard', async () => {
        const progress = await add(NOTHING_YET, someBytes(1000))
        await backend.discard(at)
        await expectUntouched(progress)
      })

      it('says so though the body breaks meanwhile', async () => {
        const body = endless(someBytes(1000))
        const appending = append({ offset: 5, notes: null }, body)
        body.destroy(new Error('broken early'))
        await expect(appending).rejects.toMatchObject({ code: 'MissingBytes' })
        await until(() => body.closed, 'the body is closed')
      })
    })

    describe('goBack', () => {
      const lengths = [0, 1000, partSize + 1000]
      it.each(lengths)('leaves nothing of any unwanted chunk after %i bytes, which go on', async (length) => {
        const bytes = someBytes(length + partSize)
        const to = await add(NOTHING_YET, bytes.subarray(0, length))
        const before = [await list(), await unfinished()]
        for (const unwanted of [1, partSize - length, partSize + 1000]) {
          if (unwanted <= 0) continue
          const from = await add(to, someBytes(unwanted))
          await backend.goBack(at, { from, to })
          await (await openAnother()).goBack(at, { from, to })
          expect([await list(), await unfinished()]).toEqual(before)
        }
        await finish(to, bytes)
      })

      it('leaves all that there is when nothing is unwanted', async () => {
        await backend.goBack(at, { from: NOTHING_YET, to: NOTHING_YET })
        await expectNothingLeft()
        const bytes = someBytes(partSize + 1000)
        const to = await add(await add(NOTHING_YET, bytes.subarray(0, 1000)), bytes.subarray(1000))
        const before = [await list(), await unfinished()]
        await backend.goBack(at, { from: to, to })
        expect([await list(), await unfinished()]).toEqual(before)
        await finish(to, bytes)
      })

      it('leaves the other versions of the bucket', async () => {
        const bytes = someBytes(partSize + 1000)
        const other = newLocation(at.bucket)
        const others = await add(NOTHING_YET, bytes, null, other)
        const from = await add(NOTHING_YET, someBytes(partSize + 1000))
        await backend.goBack(at, { from, to: NOTHING_YET })
        const end = await add(others, Buffer.alloc(0), bytes.length, other)
        await backend.complete(other, end)
        await expectWhole(bytes, other)
      })
    })

    describe('discard', () => {
      const stages: [string, () => Promise<Progress>][] = [
        ['nothing', async () => NOTHING_YET],
        ['an empty chunk', () => add(NOTHING_YET, someBytes(0))],
        ['one byte', () => add(NOTHING_YET, someBytes(1))],
        ['a long chunk', () => add(NOTHING_YET, someBytes(partSize + 1000))],
        ['several chunks', async () => add(await add(NOTHING_YET, someBytes(partSize)), someBytes(1000))],
        ['all chunks', () => add(NOTHING_YET, someBytes(partSize), partSize)],
        [
          'what is complete',
          async () => {
            const end = await add(NOTHING_YET, someBytes(1000), 1000)
            await backend.complete(at, end)
            return end
          },
        ],
      ]
      it.each(stages)('leaves nothing of %s, twice as well', async (_, begin) => {
        await begin()
        const other = newLocation(at.bucket)
        await backend.write(other, someBytes(10), { maxBytes: 10 })
        await backend.discard(at)
        expect(await list()).toEqual([{ location: other, size: 10 }])
        await (await openAnother()).discard(at)
        await backend.remove(other)
        await expectNothingLeft()
      })

      it('leaves nothing of a version whose last chunk is not wanted', async () => {
        const from = await add(NOTHING_YET, someBytes(1000))
        await add(from, someBytes(partSize))
        await backend.discard(at)
        await expectNothingLeft()
      })
    })
  })
}

/** As it comes back from where the caller keeps it. */
function kept(progress: Progress): Progress {
  expect(progress.notes?.length ?? 0).toBeLessThan(1000)
  return JSON.parse(JSON.stringify(progress))
}

/** `bytes`, and then no end. */
function endless(bytes: Buffer): Readable {
  const body = new Readable({ read() {} })
  for (let i = 0; i < bytes.length; i += 60_013) body.push(bytes.subarray(i, i + 60_013))
  return body
}
