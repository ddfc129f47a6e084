import type { Random } from '../../faults/random.ts'

/** The buckets that attackers know of; the first three are there at the beginning. */
export const BUCKETS = ['open', 'shared', 'closed', 'nowhere', '..', 'Upper Case', '%2e%2e', ''] as const

/** Names as they stand in a target. Among them everything by which servers have been led out of their folder. */
const NAMES = [
  'a.txt',
  'dir/b.txt',
  'dir/c%20d.txt',
  'na%C3%AFve.png',
  'large.bin',
  '../../../../etc/passwd',
  '..%2f..%2f..%2fetc%2fpasswd',
  '%2e%2e/%2e%2e/escaped.txt',
  '..%5c..%5cescaped.txt',
  '..\\..\\escaped.txt',
  '/tmp/escaped.txt',
  'C:%5Cescaped.txt',
  'a%00.txt',
  'a%0d%0aX-Injected:%201',
  '%',
  '%zz',
  '%ff%fe',
  '%c0%ae%c0%ae/',
  '%ed%a0%80',
  'raw-ünïcode',
  '.',
  '..',
  '',
  '//',
  'dir/',
  `${'long/'.repeat(300)}a`,
  'x'.repeat(1025),
  "'()*!~",
  '?download=',
  '#fragment',
  'escaped;.txt',
  'con',
  '.escaped',
  '-rf',
  '$(id)',
  '%25%32%65',
] as const

/** What is put where a text is expected. */
const TEXTS = [
  '',
  ' ',
  '0',
  '-1',
  'true',
  'null',
  '1e309',
  '9007199254740993',
  '99999999999999999999999999',
  '\0',
  '\r\nX-Injected: 1\r\n',
  '\n',
  '%00',
  '../../escaped.txt',
  '"',
  "'; drop table storage.objects; --",
  '{{7*7}}',
  '\\',
  'ü',
  '🦄',
  '\ud800',
  '__proto__',
  'constructor',
  'x'.repeat(5000),
  'text/html; charset=utf-8',
  'image/*',
  'a,b,,c',
  '*',
] as const

const NUMBERS = [0, -1, 1, 100, 1.5, 1e9, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308] as const

export function chance(random: Random, percent: number): boolean {
  return random.below(100) < percent
}

export function aName(random: Random): string {
  return chance(random, 75)
    ? random.pick(['a.txt', 'dir/b.txt', 'large.bin', `n-${random.below(30)}`])
    : random.pick(NAMES)
}

/** More often than not of an object that nobody deletes by it. */
export function aStoredName(random: Random): string {
  return chance(random, 60) ? 'kept.txt' : aName(random)
}

export function aBucket(random: Random): string {
  return chance(random, 85) ? random.pick(['open', 'shared', 'shared', 'closed']) : random.pick(BUCKETS)
}

export function aText(random: Random): string {
  return chance(random, 10) ? random.bytes(random.below(40)).toString('latin1') : random.pick(TEXTS)
}

/** Any JSON, now and then of a kind that hurts parsers. */
export function aValue(random: Random, depth = 3): unknown {
  switch (random.below(depth > 0 ? 9 : 6)) {
    case 0:
      return null
    case 1:
      return chance(random, 50)
    case 2:
      return random.pick(NUMBERS)
    case 6:
      return Array.from({ length: random.below(4) }, () => aValue(random, depth - 1))
    case 7:
      return Object.fromEntries(
        Array.from({ length: random.below(4) }, () => [aText(random), aValue(random, depth - 1)]),
      )
    case 8:
      return chance(random, 10) ? nested(random.pick([40, 200, 2000])) : aText(random)
    default:
      return aText(random)
  }
}

function nested(depth: number): unknown {
  let value: unknown = 1
  for (let level = 0; level < depth; level++) value = [value]
  return value
}

/** The same object with one of its fields replaced, left out or added, more often than not as it was. */
export function disturbed(random: Random, body: Record<string, unknown>): unknown {
  if (chance(random, 70)) return body
  if (chance(random, 10)) return aValue(random)
  const keys: [string, ...string[]] = [aText(random), ...Object.keys(body)]
  const key = random.pick(keys)
  const { [key]: _, ...rest } = body
  return chance(random, 20) ? rest : { ...rest, [key]: aValue(random) }
}
