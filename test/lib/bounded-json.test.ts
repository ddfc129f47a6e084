import { describe, expect, it } from 'vitest'
import { checkComplexity, JsonTooComplex, parseJson } from '../../src/lib/bounded-json.ts'

const nested = (depth: number, inner = '1') =>
  `${'[{"a":'.repeat(depth / 2)}${inner}${'}]'.repeat(depth / 2)}`

it.each([
  ['1'],
  ['"[[["'],
  [`"\\"${'['.repeat(100)}\\\\"`],
  [nested(32)],
  [`[${`${nested(30)},`.repeat(500)}0]`], // each level is left again
  [`{"${'{'.repeat(100)}":[]}`],
  [`[${'0,'.repeat(19_000)}0]`],
])('reads %.40s as JSON.parse does', (text) => expect(parseJson(text)).toEqual(JSON.parse(text)))

describe('refuses before it reads', () => {
  it.each([
    ['33 levels', `[${nested(32)}]`],
    ['levels behind a string that ends with a backslash', `["\\\\",${nested(32)}]`],
    ['levels without an end', '['.repeat(2_000_000)],
    ['levels of objects without an end', '{"a":'.repeat(400_000)],
    ['many values', `[${'0,'.repeat(20_000)}0]`],
    ['many empty lists', `[${'[],'.repeat(15_000)}0]`],
    ['many fields', `{${Array.from({ length: 20_001 }, (_, n) => `"${n}":0`)}}`],
  ])('%s', (_what, text) => expect(() => parseJson(text)).toThrow(JsonTooComplex))

  it('as many levels as it is told', () => {
    expect(() => checkComplexity(nested(100), 100)).not.toThrow()
    expect(() => checkComplexity(nested(102), 100)).toThrow('more than 100 deep')
  })
})

it.each(['', '{', '"', '"\\', ']]]]', '[}', 'nul', '[1,]', '"\\"', ']'.repeat(100) + '['.repeat(40)])(
  '%j is no JSON',
  (text) => expect(() => parseJson(text)).toThrow(SyntaxError),
)
