import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { readFirstBytes } from '../../src/lib/first-bytes.ts'

const BYTES = Buffer.from('0123456789')

/** A stream that has all of its bytes, and its end, before anybody reads it. */
function arrived(chunks: Buffer[]): Readable {
  const stream = new Readable({ read() {} })
  for (const chunk of chunks) stream.push(chunk)
  stream.push(null)
  return stream
}

describe('first bytes', () => {
  it.each<[what: string, chunks: Buffer[], head: string]>([
    ['one chunk', [BYTES], '0123'],
    ['a chunk for each', [...BYTES].map((byte) => Buffer.from([byte])), '0123'],
    ['exactly as many', [BYTES.subarray(0, 4)], '0123'],
    ['fewer', [BYTES.subarray(0, 3)], '012'],
    ['none', [], ''],
  ])('of %s are told, and then all of them are read', async (_what, chunks, expected) => {
    for (const stream of [arrived(chunks), Readable.from(chunks, { objectMode: false })]) {
      const { head, whole } = await readFirstBytes(stream, 4)
      expect(Buffer.from(head).toString()).toBe(expected)
      await turn() // whoever reads the rest asks others first
      expect(await buffer(whole)).toEqual(Buffer.concat(chunks))
    }
  })

  it('are all that is read until somebody wants more', async () => {
    const stream = new PassThrough()
    stream.write(Buffer.alloc(100_000))
    const { whole } = await readFirstBytes(stream, 4)
    for (let round = 0; round < 10; round++) {
      stream.write(Buffer.alloc(100_000))
      await turn()
    }
    expect(stream.isPaused()).toBe(true)
    expect(whole.readableLength).toBe(100_000)
    stream.end()
    expect((await buffer(whole)).length).toBe(1_100_000)
  })

  it('that do not come whole fail as the stream does, which is left open where it can be', async () => {
    const stream = new PassThrough()
    stream.write('01')
    const reading = readFirstBytes(stream, 4)
    stream.emit('error', new Error('too slow')) // as of a request that is to be answered
    await expect(reading).rejects.toThrow('too slow')
    expect([stream.destroyed, stream.listenerCount('data')]).toEqual([false, 0])
    const gone = new PassThrough()
    const waiting = readFirstBytes(gone, 4)
    gone.destroy()
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' })
    await expect(readFirstBytes(gone, 4)).rejects.toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' })
  })

  it('are followed by what becomes of the stream', async () => {
    const stream = new PassThrough()
    stream.write(BYTES)
    const { whole } = await readFirstBytes(stream, 4)
    const failing = once(whole, 'error')
    whole.resume()
    await turn()
    stream.destroy(new Error('cut off'))
    expect((await failing)[0]).toMatchObject({ message: 'cut off' })
  })

  it('harm nobody when the stream breaks before anybody reads on', async () => {
    const stream = new PassThrough()
    stream.write(BYTES)
    const { whole } = await readFirstBytes(stream, 4)
    await turn()
    stream.destroy()
    await turn() // an error that nobody hears would end the process
    expect(whole.errored).toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' })
  })

  it('are let go with what is read in place of the stream', async () => {
    const stream = new PassThrough()
    stream.write(BYTES)
    const { whole } = await readFirstBytes(stream, 4)
    whole.resume()
    await turn()
    whole.destroy()
    await turn()
    expect(stream.listenerCount('data')).toBe(0)
    stream.resume()
    stream.end()
    await once(stream, 'end')
  })
})
