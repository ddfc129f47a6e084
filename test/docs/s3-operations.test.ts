import { expect, it } from 'vitest'
import { OPERATIONS } from '../../src/http/s3/routes.ts'
import { readPage } from './blocks.ts'

/** The rows of the table of operations in docs/s3.md: `| operations | names | requests | … |`. */
const ROWS = (/^## Operations\n([\s\S]*?)^## /m.exec(readPage('docs/s3.md'))?.[1] ?? '')
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| operation'))
  .map((line) => line.slice(2).split(' | '))

const LEVELS: Record<string, string> = { '/': 'service', '/{bucket}': 'bucket', '/{bucket}/{key}': 'object' }

/** What the rows say of each operation: its word in S3, and the line that there is of it in `OPERATIONS`. */
const SAID = ROWS.flatMap(([operations = '', names = '', requests = '']) => {
  const words = operations.replace(/^lists of /, '').split(', ')
  const [methods = ''] = requests.split(' `')
  const paths = [...requests.matchAll(/`(\/[^`]*)`/g)].map(([, path = '']) => path)
  return words.map((word, i) => {
    const of = inSnakeCase(word.replace(/^GetBucket/, ''))
    const name = oneOf(names.match(/(?<=`)[\w.…]+(?=`)/g), i).replace('…', of)
    const method = oneOf(methods.split(', '), i)
    const [place = '', selector] = oneOf(paths, i).split(/[?&=]/)
    const row = [
      method,
      ...(selector ? [`?${selector === '…' ? selectorOf(name) : selector}`] : []),
      ...(requests.includes('`x-amz-copy-source`') ? ['from'] : []),
    ].join(' ')
    return { word, line: `${LEVELS[place]} ${row}: storage.s3.${name}` }
  })
})

/** What a row says of each of its operations, or of all in one. */
function oneOf(said: string[] | null, i: number): string {
  return (said?.length === 1 ? said[0] : said?.[i]) ?? 'nothing'
}

function inSnakeCase(word: string): string {
  return word.replace(/(?<!^)(?=[A-Z])/g, '_').toLowerCase()
}

/** Where the page spares its readers sixteen of them: that of the operation of this name. */
function selectorOf(name: string): string | undefined {
  const rows = Object.entries(OPERATIONS.bucket)
  return rows.find(([, operation]) => operation.name === `storage.s3.${name}`)?.[0].split('?')[1]
}

it('docs/s3.md has each operation once, with its name and how it is asked for, and no other', () => {
  const there = Object.entries(OPERATIONS).flatMap(([level, operations]) =>
    Object.entries(operations).map(([row, { name }]) => `${level} ${row}: ${name}`),
  )
  expect(SAID.map(({ line }) => line).sort()).toEqual(there.sort())
})

it('docs/s3.md says no word of S3 twice', () => {
  const words = SAID.map(({ word }) => word)
  expect(new Set(words).size).toBe(words.length)
})
