import { describe, expect, it } from 'vitest'
import { PER_READER, SendBuffers } from '../../../src/backend/local/send-buffers.ts'

const MiB = 1024 * 1024

function withReaders(count: number): SendBuffers {
  const buffers = new SendBuffers()
  for (let n = 0; n < count; n++) buffers.enter()
  return buffers
}

describe('the memory through which files are sent', () => {
  it.each([1, 10, 100, 1000])('stays below 100 MiB for %i readers at once', (count) => {
    const { length } = withReaders(count).take()
    expect(length).toBeGreaterThanOrEqual(32 * 1024)
    expect(length * PER_READER * count).toBeLessThan(100 * MiB)
  })

  it('is used again, but never by two at once', () => {
    const buffers = withReaders(1)
    const [first, second] = [buffers.take(), buffers.take()]
    expect(second === first).toBe(false)
    buffers.giveBack(first)
    expect(buffers.take() === first).toBe(true)
    expect(buffers.take() === first).toBe(false)
  })

  it('is not kept when many readers have gone', () => {
    const buffers = withReaders(1000)
    const taken = Array.from({ length: 1000 }, () => buffers.take())
    for (let n = 1; n < 1000; n++) buffers.leave()
    for (const buffer of taken) buffers.giveBack(buffer)
    expect(taken.includes(buffers.take())).toBe(false)
  })

  it('is given in full again to the few who stay', () => {
    const buffers = withReaders(1000)
    for (let n = 1; n < 1000; n++) buffers.leave()
    expect(buffers.take().length).toBe(withReaders(1).take().length)
  })
})
