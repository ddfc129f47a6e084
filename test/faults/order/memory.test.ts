import { expect, it } from 'vitest'
import { findOrder, NOTHING } from './linearizability.ts'
import { type Answered, asPromised } from './memory.ts'

const write = (by: string, content: number, start: number, end: number): Answered => ({
  ...{ by, leaves: content, start, end, what: 'a write', isCertain: true, mayBeFromMemory: false },
})
const read = (by: string, content: number, start: number, end: number): Answered => ({
  ...{ by, is: content, start, end, what: 'a read', isCertain: true, mayBeFromMemory: true },
})
const isKept = (...history: Answered[]) => 'contents' in findOrder(asPromised(history), new Set([NOTHING]))

it.each<[string, boolean, Answered[]]>([
  ['what another has replaced, a second later', true, [read('x', 1, 2999, 3001)]],
  ['what another has replaced, after more than a second', false, [read('x', 1, 3003, 3004)]],
  ['what it has replaced itself', false, [read('y', 1, 2003, 2004)]],
  ['what is there', true, [read('x', 2, 2003, 2004), read('y', 2, 2003, 2004)]],
  ['by turns what was and what is there', true, [read('x', 2, 2003, 2004), read('x', 1, 2005, 2006)]],
  ['what it has replaced at that moment', true, [read('y', 1, 2001, 2004)]],
])('an answer from memory may be: %s: %s', (_, expected, reads) => {
  expect(isKept(write('x', 1, 0, 1), write('y', 2, 2000, 2002), ...reads)).toBe(expected)
})

it('an answer from memory follows what its server has acknowledged, in whatever order that began', () => {
  const writes = [write('x', 1, 0, 1), write('y', 2, 10, 40), write('x', 3, 20, 30)]
  expect(isKept(...writes, read('x', 1, 50, 51))).toBe(false)
  expect(isKept(...writes, read('x', 2, 50, 51))).toBe(true)
  expect(isKept(...writes, read('x', 3, 50, 51))).toBe(true)
  expect(isKept(...writes, read('y', 1, 50, 51))).toBe(false)
})
