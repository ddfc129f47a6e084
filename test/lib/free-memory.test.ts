import { describe, expect, it } from 'vitest'
import { freeMemory } from '../../src/lib/free-memory.ts'

describe('freeMemory', () => {
  it('leaves chunks empty that have all of their buffers', () => {
    const chunks = [Buffer.alloc(65_536), new Uint8Array(1), Buffer.allocUnsafeSlow(10)]
    freeMemory(chunks)
    expect(chunks.map(({ buffer, length }) => [buffer.byteLength, length])).toEqual(Array(3).fill([0, 0]))
  })

  it('leaves alone what may be in use by others: pieces of buffers, pooled and shared ones', () => {
    const buffer = Buffer.from('abc'.repeat(1000))
    const chunks = [buffer.subarray(1), Buffer.from('pooled'), new Uint8Array(new SharedArrayBuffer(3))]
    freeMemory(chunks)
    expect(chunks.map(({ length }) => length)).toEqual([2999, 6, 3])
    expect(buffer.toString()).toBe('abc'.repeat(1000))
  })

  it('takes chunks that are empty already, and none', () => {
    const chunk = new Uint8Array(10)
    freeMemory([chunk])
    freeMemory([chunk, new Uint8Array(0)])
    freeMemory([])
    expect(chunk.length).toBe(0)
  })

  it('does not gather what it was given', () => {
    const before = process.memoryUsage().arrayBuffers
    for (let n = 0; n < 1000; n++) freeMemory([Buffer.alloc(1024 * 1024)])
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100 * 1024 * 1024)
  })
})
