import { expect, it } from 'vitest'
import { SharedFilters } from '../../../src/http/realtime/shared-filters.ts'

it('equal filters are one, and memory for them has an end', () => {
  const filters = new SharedFilters()
  const first = filters.read('name=eq.a')
  expect(filters.read('name=eq.a')).toBe(first)
  expect(filters.read('name=eq.b')).not.toBe(first)
  for (let index = 0; index < 1000; index++) filters.read(`name=eq.${index}${'x'.repeat(8000)}`)
  const again = filters.read('name=eq.a')
  expect(again).not.toBe(first)
  expect(again.holds({ name: 'a' } as never)).toBe(true) // all that it looks at
})
