import { describe, expect, it } from 'vitest'
import { Random } from '../random.ts'
import { type Content, findOrder, NOTHING, type Operation, type Told } from './linearizability.ts'

/** Content of the tests. */
const [A, B, C] = [1, 2, 3] as const

/** An operation from `start` to `end` that was told this. */
function between(start: number, end: number, told: Told, more: Partial<Operation> = {}): Operation {
  return { start, end, isCertain: true, what: 'a test', ...told, ...more }
}
const unanswered = (start: number, end: number, told: Told) => between(start, end, told, { isCertain: false })

const write = (content: Content): Told => ({ leaves: content })
const create = (content: Content): Told => ({ is: NOTHING, leaves: content })
const replace = (is: Content, content: Content): Told => ({ is, leaves: content })
const read = (content: Content): Told => ({ is: content })
const refusedAsThere: Told = { not: NOTHING }
const deleted: Told = { not: NOTHING, leaves: NOTHING }
const notFound: Told = { is: NOTHING }

function isOrdered(history: Operation[], before: Content[] = [NOTHING]): boolean {
  return 'contents' in findOrder(history, new Set(before))
}

describe('a history that has an order', () => {
  it.each<[string, Operation[]]>([
    ['one after the other', [between(0, 1, create(A)), between(2, 3, read(A)), between(4, 5, deleted)]],
    ['a read beside a write, of what was before', [between(0, 9, write(A)), between(1, 2, notFound)]],
    ['a read beside a write, of what it writes', [between(0, 9, write(A)), between(1, 2, read(A))]],
    [
      'two writes at once, of which the one that began later was first',
      [
        between(0, 9, write(A)),
        between(1, 9, write(B)),
        between(2, 3, read(B)),
        between(4, 5, read(A)),
        between(10, 11, read(A)),
      ],
    ],
    [
      'a write that is only seen by what it kept another from',
      [
        between(0, 9, write(A)),
        between(1, 9, deleted),
        between(1, 2, refusedAsThere),
        between(10, 11, notFound),
      ],
    ],
    [
      'two that change what they have read, one after the other',
      [between(0, 1, create(A)), between(2, 9, replace(B, C)), between(2, 9, replace(A, B))],
    ],
    [
      'a write whose answer was lost, and that is read much later',
      [
        between(0, 1, create(A)),
        unanswered(2, 20, write(B)),
        between(3, 4, read(A)),
        between(10, 11, read(B)),
      ],
    ],
    [
      'a write whose answer was lost, and that nobody reads',
      [between(0, 1, create(A)), unanswered(2, 20, write(B)), between(30, 31, read(A))],
    ],
    ['at the same moment', [between(0, 5, create(A)), between(5, 6, notFound)]],
  ])('is found: %s', (_, history) => {
    expect(isOrdered(history)).toBe(true)
  })
})

describe('a history that has none', () => {
  it.each<[string, Operation[]]>([
    ['a read of what nobody has written', [between(0, 1, create(A)), between(2, 3, read(B))]],
    ['a read before its write', [between(0, 1, read(A)), between(2, 3, write(A))]],
    ['a stale read', [between(0, 1, create(A)), between(2, 3, write(B)), between(4, 5, read(A))]],
    ['a lost write', [between(0, 1, create(A)), between(2, 3, notFound)]],
    [
      'two reads that are back to front, beside one write',
      [between(0, 1, create(A)), between(2, 9, write(B)), between(3, 4, read(B)), between(5, 6, read(A))],
    ],
    ['two creations of one name', [between(0, 9, create(A)), between(0, 9, create(B))]],
    [
      'two that change the same they have read',
      [between(0, 1, create(A)), between(2, 9, replace(A, B)), between(2, 9, replace(A, C))],
    ],
    [
      'two deletions of one object',
      [between(0, 1, create(A)), between(2, 9, deleted), between(2, 9, deleted)],
    ],
    ['a refusal beside nothing', [between(0, 1, refusedAsThere), between(2, 9, create(A))]],
    [
      'a write whose answer was lost, and that took place twice',
      [
        between(0, 1, create(A)),
        unanswered(2, 20, write(B)),
        between(3, 4, read(B)),
        between(5, 6, write(C)),
        between(7, 8, read(B)),
      ],
    ],
    [
      'a write whose answer was lost, read after it could not take place any more',
      [between(0, 1, create(A)), unanswered(2, 5, write(B)), between(6, 7, read(A)), between(8, 9, read(B))],
    ],
  ])('is found out: %s', (_, history) => {
    expect(isOrdered(history)).toBe(false)
  })

  it('is told with what there may have been, and what ran besides', () => {
    const history = [between(0, 1, create(A)), between(2, 9, write(B)), between(3, 4, read(C))]
    expect(findOrder(history, new Set([NOTHING]))).toEqual({
      problem: [
        'no order explains a test, which found content 3 (3.000–4.000 ms)',
        'there may have been content 1, and besides there ran',
        'a test, which left content 2 (2.000–9.000 ms)',
      ].join('\n  '),
    })
  })
})

it('knows all that may be there at the end', () => {
  const history = [between(0, 1, create(A)), unanswered(2, 9, write(B)), between(2, 9, write(C))]
  expect(findOrder(history, new Set([NOTHING]))).toEqual({ contents: new Set([B, C]) })
  expect(findOrder([between(0, 1, refusedAsThere)], new Set([NOTHING, A, B]))).toEqual({
    contents: new Set([A, B]),
  })
})

it('lets a read follow what it did not begin after', () => {
  const [first, second] = [between(0, 1, create(A)), between(2, 4, write(B))]
  const stale = between(3, 9, read(A))
  expect(isOrdered([first, second, stale])).toBe(true)
  expect(isOrdered([first, second, { ...stale, follows: [first] }])).toBe(true)
  expect(isOrdered([first, second, { ...stale, follows: [second] }])).toBe(false)
  expect(isOrdered([first, second, between(3, 9, read(B), { follows: [second] })])).toBe(true)
})

describe('beside one that tries every order', () => {
  it('says the same of some thousands of random histories', () => {
    const random = new Random(1)
    const found = { ordered: 0, not: 0 }
    for (let round = 0; round < 3000; round++) {
      const history = randomHistory(random)
      const expected = hasOrderAmongAll(history)
      expect([isOrdered(history), JSON.stringify(history)]).toEqual([expected, JSON.stringify(history)])
      found[expected ? 'ordered' : 'not']++
    }
    expect(found.ordered).toBeGreaterThan(250)
    expect(found.not).toBeGreaterThan(250)
  })
})

it('takes time that grows with the length of a history, and not faster', () => {
  const timeOf = (length: number) => {
    const history = simulated(new Random(2), { length, clients: 6 })
    const startedAt = performance.now()
    expect(isOrdered(history)).toBe(true)
    return performance.now() - startedAt
  }
  // Only the least says what it takes: a busy machine is busy for some of them.
  const least = { short: Number.POSITIVE_INFINITY, long: Number.POSITIVE_INFINITY }
  const growth = () => least.long / least.short
  for (let round = 0; round < 20 && !(growth() < 40); round++) {
    least.short = Math.min(least.short, timeOf(1000))
    least.long = Math.min(least.long, timeOf(10_000))
  }
  expect(growth()).toBeLessThan(40)
})

it('finds out two reads that are exchanged in a long history', () => {
  const history = simulated(new Random(3), { length: 4000, clients: 6 })
  const isRead = ({ is, leaves }: Operation) => leaves === undefined && is !== undefined && is !== NOTHING
  const reads = history.filter(isRead)
  const early = reads[100]
  const late = reads.find(({ start, is }) => early && start > early.end + 50 && is !== early.is)
  if (!early || !late) throw new Error('there are reads')
  const exchanged = history.map((operation) => {
    if (operation === early) return { ...early, is: late.is ?? NOTHING }
    return operation === late ? { ...late, is: early.is ?? NOTHING } : operation
  })
  expect([isOrdered(history), isOrdered(exchanged)]).toEqual([true, false])
})

/** Of a few operations, in whatever order they take place, with answers that are often wrong. */
function randomHistory(random: Random): Operation[] {
  let content = NOTHING
  const seen = () => random.pick([NOTHING, A, content, content + 1])
  const history = Array.from({ length: 2 + random.below(5) }, () => {
    const start = random.below(12)
    const times = [start, start + random.below(8)] as const
    const told: Told = random.pick<() => Told>([
      () => write(++content),
      () => create(++content),
      () => replace(seen(), ++content),
      () => read(seen()),
      () => read(seen()),
      () => deleted,
      () => refusedAsThere,
      () => ({ not: seen() }),
    ])()
    return between(...times, told, { isCertain: random.below(4) > 0 || told.leaves === undefined })
  })
  const [first, ...others] = history
  const last = others.at(-1)
  const isChange = first?.isCertain && first.leaves !== undefined
  if (isChange && last && first.start <= last.start && last.leaves === undefined) last.follows = [first]
  return history
}

function hasOrderAmongAll(history: Operation[]): boolean {
  const go = (left: Operation[], content: Content): boolean => {
    if (left.every(({ isCertain }) => !isCertain)) return true
    return left.some((next) => {
      const others = left.filter((other) => other !== next)
      const isTooEarly = others.some((other) => other.end < next.start && other.isCertain)
      const isBeforeWhatItFollows = next.follows?.some((earlier) => left.includes(earlier)) ?? false
      const isRight =
        (next.is === undefined || next.is === content) && (next.not === undefined || next.not !== content)
      if (isTooEarly || isBeforeWhatItFollows || !isRight) return false
      // What could only have taken place before this one, and has not, never does.
      const stillPossible = others.filter((other) => other.isCertain || other.end >= next.start)
      return go(stillPossible, next.leaves ?? content)
    })
  }
  return go(history, NOTHING)
}

/** A history of clients that ask one thing after the other of something that is right. */
function simulated(random: Random, { length, clients }: { length: number; clients: number }): Operation[] {
  let content = NOTHING
  let written = 0
  const free = Array.from({ length: clients }, () => 0)
  const history: Operation[] = []
  for (let moment = 1; history.length < length; moment += 1 + random.below(3)) {
    const client = free.findIndex((since) => since < moment)
    if (client < 0) continue
    const told: Told = random.pick<() => Told>([
      () => write(++written),
      () => read(content),
      () => read(content),
      () => (content === NOTHING ? create(++written) : refusedAsThere),
      () => (content === NOTHING ? notFound : deleted),
    ])()
    const isCertain = told.leaves === undefined || random.below(100) > 0
    const end = moment + 1 + random.below(12)
    history.push(
      between(Math.max(free[client] ?? 0, moment - random.below(12)), isCertain ? end : end + 300, told, {
        isCertain,
      }),
    )
    free[client] = end
    if (isCertain || random.below(2) === 0) content = told.leaves ?? content
  }
  return history
}
