import { expect, it } from 'vitest'
import { nearest } from '../../src/lib/nearest.ts'

const FIELDS = ['name', 'public', 'policy', 'file_size_limit', 'max_file_size', 'allowed_mime_types']

it.each([
  ['publik', 'public'],
  ['Policy', 'policy'],
  ['fileSizeLimit', 'file_size_limit'],
  ['allowedMimeTypes', 'allowed_mime_types'],
  ['allowed_mime_type', 'allowed_mime_types'],
  ['polices', 'policy'],
  ['nmae', 'name'],
  ['quota', undefined],
  ['', undefined],
  ['x'.repeat(100_000), undefined],
])('%s was probably to be %s', (word, meant) => {
  expect(nearest(word, FIELDS)).toBe(meant)
})

it('nothing is near to nothing', () => {
  expect(nearest('name', [])).toBeUndefined()
})
