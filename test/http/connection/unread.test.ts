import pino from 'pino'
import { beforeEach, describe, expect, it } from 'vitest'
import { type Backlog, Unread } from '../../../src/http/connection/unread.ts'
import { until } from '../../support/wait.ts'

const MOST = 10_000

let unread: Unread
let dropped: string[]
let lines: string[]
beforeEach(() => {
  dropped = []
  lines = []
  const logger = pino({}, { write: (line: string) => lines.push(line) })
  unread = new Unread(MOST, logger)
})

function listener(name: string): Backlog {
  return unread.open((reason) => dropped.push(`${name}: ${reason}`))
}

const names = () => dropped.map((text) => text.split(':')[0])

describe('what listeners have not read', () => {
  it('counts once in memory, however many have it before them', () => {
    const bytes = Buffer.alloc(5000)
    const many = Array.from({ length: 10 }, (_, index) => listener(String(index)))
    for (const one of many) one.add(bytes)
    expect(unread.bytes).toBeLessThan(MOST)
    for (const one of many.slice(1)) one.read()
    expect(unread.bytes).toBeGreaterThanOrEqual(bytes.length)
    many[0]?.read()
    expect(unread.bytes).toBe(0)
  })

  it('is cut off when it is too much: first those who are most behind, and no more than need be', async () => {
    const [old, reading, young] = [listener('old'), listener('reading'), listener('young')]
    reading.add(Buffer.alloc(100))
    old.add(Buffer.alloc(1000))
    young.add(Buffer.alloc(MOST - 1000))
    reading.read()
    reading.add(Buffer.alloc(100))
    await until(() => dropped.length > 0, 'somebody is cut off')
    expect(names()).toEqual(['old'])
    expect(dropped[0]).toContain('too far behind')
    expect(lines.join('')).toContain('STORAGE_MAX_UNREAD')
    expect(unread.bytes).toBeLessThanOrEqual(MOST)
  })

  it('is not held against who has read it before this work is over', async () => {
    const [quick, slow] = [listener('quick'), listener('slow')]
    quick.add(Buffer.alloc(MOST))
    slow.add(Buffer.alloc(100))
    quick.read()
    await new Promise(setImmediate)
    expect(dropped).toEqual([])
  })

  it('is forgotten with its listener, and what it says later changes nothing', () => {
    const [one, other] = [listener('one'), listener('other')]
    const bytes = Buffer.alloc(1000)
    for (const backlog of [one, one, other]) backlog.add(bytes)
    one.close()
    one.read()
    expect(unread.bytes).toBeGreaterThanOrEqual(bytes.length)
    other.close()
    expect(unread.bytes).toBe(0)
  })
})
