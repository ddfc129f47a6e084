import { expect, it } from 'vitest'
import { parseDuration } from '../../src/lib/units.ts'

it.each([
  ['500ms', 500],
  ['30s', 30_000],
  ['5m', 300_000],
  ['12h', 43_200_000],
  ['30d', 2_592_000_000],
  ['0s', 0],
])('%s is %i milliseconds', (text, ms) => expect(parseDuration(text)).toBe(ms))

it.each(['', '30', 's', '-1s', '1.5h', '30 s', '1h30m', '1S', '1w', '1000000000s'])(
  '%j is no duration',
  (text) => expect(parseDuration(text)).toBeNull(),
)
