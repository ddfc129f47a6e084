import { EventEmitter } from 'node:events'
import { beforeEach, describe, expect, it } from 'vitest'
import { GatheredLines } from '../../src/server/gathered-lines.ts'
import { until } from '../support/wait.ts'

/** What is written, in pieces. */
class Destination extends EventEmitter {
  readonly pieces: string[] = []
  synced = 0

  write(text: string): boolean {
    this.pieces.push(text)
    return true
  }

  flushSync(): void {
    this.synced = this.pieces.length
  }
}

let to: Destination
beforeEach(() => {
  to = new Destination()
})
const never = 2 ** 31 - 1
const open = (waitMs = never) => new GatheredLines(to as never, { bytes: 100, waitMs })

describe('gathered lines', () => {
  it('come out whole and in order, in pieces that are no longer than is said, in bytes', () => {
    const lines = open()
    const all = Array.from({ length: 200 }, (_, n) => `${n} ${'ü'.repeat(n % 30)}\n`)
    for (const line of all) lines.write(line)
    lines.flush()
    expect(to.pieces.join('')).toBe(all.join(''))
    expect(to.pieces.length).toBeLessThan(150)
    for (const piece of to.pieces) {
      expect(Buffer.byteLength(piece)).toBeLessThanOrEqual(100)
      expect(piece.endsWith('\n')).toBe(true)
    }
  })

  it('has a longer line in a piece of its own', () => {
    const lines = open()
    for (const line of ['a\n', `${'b'.repeat(200)}\n`, 'c\n']) lines.write(line)
    lines.flush()
    expect(to.pieces).toEqual(['a\n', `${'b'.repeat(200)}\n`, 'c\n'])
  })

  it('come out by themselves after a while', async () => {
    open(1).write('a\n')
    await until(() => to.pieces.length > 0, 'it is written')
    expect(to.pieces).toEqual(['a\n'])
  })

  it('are written at the end of the process, unless there is nowhere to write to any more', () => {
    const lines = open()
    lines.write('a\n')
    lines.flushSync()
    expect([to.pieces, to.synced]).toEqual([['a\n'], 1])
    lines.write('b\n')
    to.emit('close')
    lines.flushSync()
    expect([to.pieces, to.synced]).toEqual([['a\n'], 1])
  })
})
