import { Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { type DrainSomeOptions, drain, drainSome } from '../../src/backend/drain.ts'
import { until } from '../support/wait.ts'

describe('drain and drainSome', () => {
  const both = [
    ['drain', drain],
    ['drainSome', drainSome],
  ] as const

  /** What was asked to be written, and what lets each write come to its end. */
  let writes: { text: string; done: () => void; fail: (reason: Error) => void }[]
  let seen: string
  let isSlow: boolean
  beforeEach(() => {
    writes = []
    seen = ''
    isSlow = true
  })

  const options = (more: Partial<DrainSomeOptions> = {}): DrainSomeOptions => ({
    maxBytes: 1000,
    batchBytes: () => 4,
    signal: new AbortController().signal,
    tap: (chunk) => {
      seen += Buffer.from(chunk).toString()
    },
    write: (batch) =>
      new Promise<void>((done, fail) => {
        writes.push({ text: Buffer.concat(batch).toString(), done, fail })
        if (!isSlow) done()
      }),
    ...more,
  })
  const written = () => writes.map(({ text }) => text)
  /** A body that has sent `chunks`, and is open. */
  const sending = (...chunks: string[]) => {
    const body = new Readable({ read() {} })
    for (const chunk of chunks) body.push(chunk)
    return body
  }
  /** Whether `work` comes to its end when everything that can happen by itself has happened. */
  const isSettled = async (work: Promise<unknown>) => {
    let settled = false
    const settle = () => {
      settled = true
    }
    work.then(settle, settle)
    for (let turn = 0; turn < 10; turn++) await nextTurn()
    return settled
  }
  const writing = (count: number) => until(() => writes.length === count, `${count} writes have begun`)
  const broken = new Error('broken')

  it('write full batches, one at a time, and the rest at the end', async () => {
    const body = sending('ab', 'cd', 'efgh', 'i')
    const draining = drain(body, options())
    await writing(1)
    body.push(null)
    expect(await isSettled(draining)).toBe(false)
    expect(written()).toEqual(['abcd'])
    writes[0]?.done()
    await writing(2)
    expect(written()).toEqual(['abcd', 'efgh'])
    writes[1]?.done()
    await writing(3)
    writes[2]?.done()
    expect(await draining).toMatchObject({ size: 9 })
    expect([written(), seen]).toEqual([['abcd', 'efgh', 'i'], 'abcdefghi'])
  })

  it('let the body wait when two batches are in memory', async () => {
    const body = sending('abcd', 'efgh', 'ijkl', 'mnop')
    const draining = drain(body, options())
    await writing(1)
    expect(await isSettled(draining)).toBe(false)
    expect([seen, body.isPaused()]).toEqual(['abcdefgh', true])
    isSlow = false
    body.push(null)
    writes[0]?.done()
    expect(await draining).toMatchObject({ size: 16 })
  })

  it('write what came as very many chunks before the batch has its bytes', async () => {
    isSlow = false
    const body = Readable.from(Array.from({ length: 2500 }, () => Buffer.from('x')))
    expect(await drain(body, options({ maxBytes: 2500, batchBytes: () => 1e6 }))).toMatchObject({
      size: 2500,
    })
    expect(written().map((text) => text.length)).toEqual([1024, 1024, 452])
  })

  it.each(both)('write nothing of a body without bytes (%s)', async (_, pour) => {
    expect(await pour(Readable.from([]), options())).toMatchObject({ size: 0 })
    expect(written()).toEqual([])
  })

  it.each(both)(
    'refuse the first byte too many once no write is running, and never show it (%s)',
    async (_, pour) => {
      const body = sending('abcd', 'ef', 'g')
      const draining = pour(body, options({ maxBytes: 6 }))
      draining.catch(() => {})
      await writing(1)
      expect(await isSettled(draining)).toBe(false)
      writes[0]?.done()
      await expect(draining).rejects.toMatchObject({ code: 'EntityTooLarge' })
      expect([seen, written(), body.destroyed, body.isPaused()]).toEqual(['abcdef', ['abcd'], false, true])
    },
  )

  it.each(both)('refuse what is no bytes (%s)', async (_, pour) => {
    await expect(pour(Readable.from([{ not: 'bytes' }]), options())).rejects.toThrow('bytes')
    expect(written()).toEqual([])
  })

  it.each(both)('end as a write has failed, and leave the body open (%s)', async (_, pour) => {
    const body = sending('abcd', 'ef')
    const draining = pour(body, options())
    await writing(1)
    writes[0]?.fail(broken)
    await expect(draining).rejects.toBe(broken)
    body.push('ghijkl')
    await nextTurn()
    expect([seen, written(), body.destroyed, body.isPaused()]).toEqual(['abcdef', ['abcd'], false, true])
    body.resume() // its giver throws the rest away
    await until(() => body.readableLength === 0, 'the rest is thrown away')
    expect([seen, written()]).toEqual(['abcdef', ['abcd']])
  })

  describe('when the body breaks', () => {
    it('drain fails with its error once no write is running', async () => {
      const body = sending('abcd', 'ef')
      const draining = drain(body, options())
      await writing(1)
      body.destroy(broken)
      draining.catch(() => {})
      expect(await isSettled(draining)).toBe(false)
      writes[0]?.done()
      await expect(draining).rejects.toBe(broken)
      expect(written()).toEqual(['abcd'])
    })

    it('drainSome writes all that it has seen, after the write that is running', async () => {
      const body = sending('abcd', 'ef')
      const draining = drainSome(body, options())
      await writing(1)
      await until(() => seen === 'abcdef', 'all is seen')
      body.destroy(broken)
      expect(await isSettled(draining)).toBe(false)
      expect(written()).toEqual(['abcd'])
      writes[0]?.done()
      await writing(2)
      writes[1]?.done()
      expect(await draining).toEqual({ size: 6, cut: broken })
      expect([written(), seen]).toEqual([['abcd', 'ef'], 'abcdef'])
    })

    it('drainSome fails if that cannot be written', async () => {
      const body = sending('abcd', 'ef')
      const draining = drainSome(body, options())
      await writing(1)
      await until(() => seen === 'abcdef', 'all is seen')
      body.destroy(new Error('another one'))
      await until(() => body.closed, 'the body is closed')
      writes[0]?.fail(broken)
      await expect(draining).rejects.toBe(broken)
      expect(written()).toEqual(['abcd'])
    })

    it.each([
      ['with an error', broken, broken],
      ['without one', undefined, { code: 'ERR_STREAM_PREMATURE_CLOSE' }],
    ])('take nothing of one that was broken before, %s', async (_, reason, expected) => {
      const body = sending('abcd').on('error', () => {})
      body.destroy(reason)
      const { size, cut } = await drainSome(body, options())
      expect([size, cut]).toEqual([0, expect.any(Error)])
      expect(cut).toMatchObject(expected)
      await expect(drain(body, options())).rejects.toMatchObject(expected)
      expect([seen, written()]).toEqual(['', []])
    })

    it('drainSome does not call a body cut of which all has come', async () => {
      const body = sending('ab')
      body.push(null)
      const draining = drainSome(body, options())
      await writing(1) // it has ended
      body.destroy(broken)
      await nextTurn()
      writes[0]?.done()
      expect(await draining).toEqual({ size: 2, cut: null })
    })
  })

  describe('a signal', () => {
    it('ends drainSome after all that was seen is written, and nobody reads on', async () => {
      const body = sending('abcd', 'ef')
      const stopper = new AbortController()
      const draining = drainSome(body, options({ signal: stopper.signal }))
      await writing(1)
      await until(() => seen === 'abcdef', 'all is seen')
      stopper.abort(broken)
      body.push('ghijkl')
      expect(await isSettled(draining)).toBe(false)
      writes[0]?.done()
      await writing(2)
      writes[1]?.done()
      expect(await draining).toEqual({ size: 6, cut: broken })
      expect([written(), seen]).toEqual([['abcd', 'ef'], 'abcdef'])
      expect([body.destroyed, body.isPaused(), body.read()?.toString()]).toEqual([false, true, 'ghijkl'])
      body.destroy(new Error('what a left body still says is nobody’s business'))
      await until(() => body.closed, 'the body is closed')
    })

    it('ends drainSome while the body waits for a write', async () => {
      const body = sending('abcd', 'efgh', 'ijkl')
      const stopper = new AbortController()
      const draining = drainSome(body, options({ signal: stopper.signal }))
      await until(() => body.isPaused(), 'the body waits')
      stopper.abort(broken)
      isSlow = false
      writes[0]?.done()
      expect(await draining).toEqual({ size: 8, cut: broken })
      expect([written(), seen, body.isPaused()]).toEqual([['abcd', 'efgh'], 'abcdefgh', true])
      body.resume() // its giver throws the rest away
      await until(() => body.readableLength === 0, 'the rest is thrown away')
      expect([written(), seen]).toEqual([['abcd', 'efgh'], 'abcdefgh'])
    })

    it('that was given before lets drainSome take nothing', async () => {
      const body = sending('abcd')
      expect(await drainSome(body, options({ signal: AbortSignal.abort(broken) }))).toEqual({
        size: 0,
        cut: broken,
      })
      expect([seen, body.read()?.toString()]).toEqual(['', 'abcd'])
    })

    it('gives an error even if its reason is none', async () => {
      const { cut } = await drainSome(sending(), options({ signal: AbortSignal.abort('stop') }))
      expect(cut).toBeInstanceOf(Error)
    })

    it('changes nothing once the body has ended', async () => {
      const body = sending('ab')
      body.push(null)
      const stopper = new AbortController()
      const draining = drainSome(body, options({ signal: stopper.signal }))
      await writing(1)
      stopper.abort(broken)
      writes[0]?.done()
      expect(await draining).toEqual({ size: 2, cut: null })
    })
  })
})
