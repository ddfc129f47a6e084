import { expect, it } from 'vitest'
import { OPERATIONS } from '../../src/http/s3/routes.ts'
import { readPage } from './blocks.ts'

/** The rows of the table of operations in docs/s3.md: `| names | request | … |`. */
const ROWS = (/^## Operations\n([\s\S]*?)^## /m.exec(readPage('docs/s3.md'))?.[1] ?? '')
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| operation'))
  .map((line) => line.split(' | '))

const NAMES = ROWS.map(([names = '']) => names).join(', ')

/** What chooses an operation besides its method, and stands in the request of its row, or in the names of that. */
const SELECTORS = Object.values(OPERATIONS)
  .flatMap((operations) => Object.keys(operations))
  .flatMap((row) => /\?([\w-]+)/.exec(row)?.[1] ?? [])

it.each([...new Set(SELECTORS)])('docs/s3.md names the operations of ?%s', (selector) => {
  const word = selector.replace(/^list-type$/, 'ListObjectsV2').replaceAll('-', '')
  const isThere =
    ROWS.some((row) => row.join().includes(selector)) || NAMES.toLowerCase().includes(word.toLowerCase())
  expect(isThere).toBe(true)
})

it.each(ROWS.flatMap(([, request = '']) => /\?([\w-]+)/.exec(request)?.[1] ?? []))(
  'there is an operation of ?%s, as docs/s3.md says',
  (selector) => {
    expect(SELECTORS).toContain(selector)
  },
)
