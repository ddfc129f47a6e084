import { expect, it } from 'vitest'
import { cleanupTrouble } from '../../src/jobs/cleanup-health.ts'

const HOUR_MS = 3_600_000
const since = new Date('2026-11-01T00:00:00Z')
const after = (hours: number) => new Date(since.getTime() + hours * HOUR_MS)
const pass = (hours: number, held = 0) => ({ at: after(hours), held, unnamed: 0 })

it.each([
  ['has just begun', null, null, 3, null],
  ['has never been made', null, null, 3.1, /since 2026-11-01T00:00:00.000Z$/],
  ['was made lately', pass(10), null, 13, null],
  ['was made too long ago', pass(10), null, 13.1, /since 2026-11-01T10:00:00.000Z$/],
  ['was made by another server', null, after(10), 13, null],
  ['leaves buckets alone', pass(10, 2), null, 10, /: 2$/],
])('of a cleanup that %s', (_, last, skippedAt, hours, trouble) => {
  const told = cleanupTrouble({ last, skippedAt }, { intervalMs: HOUR_MS, since }, after(hours))
  if (trouble === null) expect(told).toBeNull()
  else expect(told).toMatch(trouble)
})
