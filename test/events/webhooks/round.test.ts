import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { StorageEvent } from '../../../src/database/queries/events.ts'
import { placesOf } from '../../../src/events/event.ts'
import { type Fate, inOrder } from '../../../src/events/webhooks/in-order.ts'
import { Round } from '../../../src/events/webhooks/round.ts'

/** Where an object is, and where it was if it has moved. */
const place = fc.constantFrom('a', 'b', 'c', 'd')
const moves = fc.array(fc.tuple(place, fc.option(place)), { minLength: 1, maxLength: 30 })

/** What the receiver and the clock do in one round. */
const weather = fc.record({
  size: fc.integer({ min: 1, max: 8 }),
  room: fc.constantFrom(0, 1, 2, Number.POSITIVE_INFINITY),
  fates: fc.array(fc.constantFrom<Fate>('done', 'done', 'failed', 'left'), { minLength: 1, maxLength: 8 }),
  isDue: fc.array(fc.boolean(), { minLength: 1, maxLength: 8 }),
})

const FAIR = { size: 100, room: Number.POSITIVE_INFINITY, fates: ['done' as Fate], isDue: [true] }

it('whatever fails and waits, each event is delivered once, in order for each place, or is written down', async () => {
  const property = fc.asyncProperty(moves, fc.array(weather, { maxLength: 12 }), async (steps, rounds) => {
    const outbox = steps.map(([path, oldPath], index) => eventAt(index + 1, path, oldPath))
    const delivered = new Set<number>()
    const pending = new Map<number, number>()
    let position = 0
    for (const { size, room, fates, isDue } of [...rounds, FAIR, FAIR]) {
      const round = new Round(size, room)
      round.addPending(
        [...pending]
          .sort(([a], [b]) => a - b)
          .map(([at, attempts], index) => {
            const event = outbox[at - 1] ?? outbox[0]
            if (!event) throw new Error('no event')
            const isNow = attempts === 0 || isDue[index % isDue.length]
            return { event, places: placesOf(event), attempts, waitMs: isNow ? 0 : 5 }
          }),
      )
      const events = room > 0 ? outbox.slice(position, position + round.space) : []
      for (const event of events) round.addNew(event)

      let count = 0
      const sent = await inOrder(3, round.candidates, async ({ event, places }) => {
        const fate = fates[count++ % fates.length] ?? 'done'
        await Promise.resolve()
        if (fate !== 'done') return fate
        const before = outbox.slice(0, event.position - 1).filter(({ position: at }) => !delivered.has(at))
        expect(before.filter((other) => placesOf(other).some((at) => places.includes(at)))).toEqual([])
        expect(delivered).not.toContain(event.position)
        delivered.add(event.position)
        return fate
      })
      const outcome = round.outcome(sent, position + events.length)

      for (const [{ event, attempts }, fate] of sent) {
        if (fate === 'done') pending.delete(event.position)
        if (fate === 'failed') pending.set(event.position, attempts + 1)
      }
      for (const { event } of outcome.waiting) pending.set(event.position, 0)
      expect(outcome.position).toBeGreaterThanOrEqual(position)
      position = outcome.position
      for (const { position: at } of outbox) {
        const isKnown = delivered.has(at) !== pending.has(at)
        expect(isKnown, `event ${at} at position ${position}`).toBe(at <= position)
      }
    }
    expect([position, delivered.size, pending.size]).toEqual([outbox.length, outbox.length, 0])
  })
  await fc.assert(property, { numRuns: 500 })
})

it('a receiver that is down gets one new event of a round, and the others stay in the outbox', () => {
  const round = new Round(100, 1)
  for (const at of [1, 2, 3]) round.addNew(eventAt(at, `file-${at}`, null))
  expect(round.candidates.map(({ event }) => event.position)).toEqual([1])
  const sent = new Map(round.candidates.map((candidate) => [candidate, 'failed' as const]))
  expect(round.outcome(sent, 3)).toEqual({ position: 1, waiting: [], isLeft: true })
})

function eventAt(position: number, path: string, oldPath: string | null): StorageEvent {
  return {
    position,
    type: oldPath === null ? 'storage.object.created' : 'storage.object.updated',
    bucket: 'box',
    path,
    oldBucket: oldPath === null ? null : 'box',
    oldPath,
    version: null,
    oldVersion: null,
    size: null,
    contentType: null,
    checksum: null,
    ownerId: null,
    createdAt: new Date(0),
    operation: null,
    record: null,
    data: null,
    traceparent: null,
  }
}
