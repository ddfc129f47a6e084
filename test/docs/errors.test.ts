import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { ERROR_CODES, StorageError, wireError } from '../../src/model/errors.ts'

/** The table of errors in docs/wire.md tells what is sent; its last column is for people. */

const ROW = /^\| `(\w+)` \| (\d{3} \| .*) \|[^|]*\|$/gm

/** As the table has it: status, code and error; then HTTP status, `statusCode`, and what differs in compat. */
function told(code: (typeof ERROR_CODES)[number]): string {
  const [own, compat] = [false, true].map((mode) => wireError(new StorageError(code), mode))
  if (!own || !compat) throw new Error('both modes have an answer')
  const quoted = (text: string, unless: string) => (text === unless ? '' : `\`${text}\``)
  const differences = [
    quoted(compat.body.code, own.body.code),
    quoted(compat.body.error, own.body.error),
  ].filter((text) => text !== '')
  return [
    own.http,
    `\`${own.body.code}\``,
    quoted(own.body.error, own.body.code),
    [`${compat.http}, \`${compat.body.statusCode}\``, ...differences].join(' '),
  ].join(' | ')
}

it('docs/wire.md has every error, and each as it travels', () => {
  const page = readFileSync(new URL('../../docs/wire.md', import.meta.url), 'utf8')
  const rows = [...page.matchAll(ROW)].map(([, code, cells]) => `${code}: ${cells?.replace('| |', '|  |')}`)
  expect(rows).toEqual(ERROR_CODES.map((code) => `${code}: ${told(code)}`))
})
