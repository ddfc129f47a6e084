import { expect, it } from 'vitest'
import { Histories } from './histories.ts'
import { NOTHING } from './linearizability.ts'
import type { ServerProcess } from './servers.ts'

const FIRST: ServerProcess = { name: 'first-1', url: '' }
const SECOND: ServerProcess = { name: 'second-1', url: '' }

/** A clock that goes on by a millisecond each time it is looked at. */
function histories(): Histories {
  let now = 0
  return new Histories(() => now++)
}
const asked = (start: number) => ({ what: 'a test', start, mayBeFromMemory: false })

it('lets what was not answered take place until its server has ended, and no longer', () => {
  for (const [isEndedFirst, expected] of [
    [false, 0],
    [true, 1],
  ] as const) {
    const those = histories()
    those.unanswered('a', asked(those.now()), { leaves: 1 }, [FIRST])
    those.answered('a', asked(those.now()), { is: NOTHING })
    if (isEndedFirst) those.ended(FIRST)
    those.answered('a', asked(those.now()), { is: NOTHING })
    those.answered('a', asked(those.now()), { is: 1 })
    if (!isEndedFirst) those.ended(FIRST)
    expect(those.problems()).toHaveLength(expected)
  }
})

it('waits for each server that may still carry something out', () => {
  const those = histories()
  those.unanswered('a', asked(those.now()), { leaves: 1 }, [FIRST, SECOND])
  those.ended(FIRST)
  expect(() => those.settled(new Map())).toThrow('somebody may still')
  those.ended(SECOND)
  those.unanswered('a', asked(those.now()), { leaves: 2 }, [SECOND]) // whose client hears of it late
  those.settled(new Map([['a', 2]]))
  expect(those.problems()).toEqual([])
  expect(those.contents).toEqual(new Set([2]))
})

it('misses what was acknowledged and is not stored, and begins anew with what was found', () => {
  const those = histories()
  those.answered('a', asked(those.now()), { leaves: 1 })
  those.settled(new Map([['a', 1]]))
  expect(those.problems()).toEqual([])
  those.answered('a', asked(those.now()), { is: 1 })
  those.answered('a', asked(those.now()), { leaves: 2 })
  those.settled(new Map())
  expect(those.problems()).toEqual([expect.stringContaining('the row in the database, which found nothing')])
})
