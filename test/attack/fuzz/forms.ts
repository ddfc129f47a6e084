import type { Random } from '../../faults/random.ts'
import { aText, aValue, chance } from './values.ts'

/** A form with a file, or what somebody takes for one. */
export function formBody(random: Random): { type: string; body: string } {
  const boundary = chance(random, 90) ? 'frontier' : random.pick(['', 'x'.repeat(200), 'a b', '"q"', '--'])
  const type = `multipart/form-data; boundary=${boundary}`
  const parts = Array.from({ length: 1 + random.below(4) }, () => aPart(random))
  const body = `${parts.map((part) => `--${boundary}\r\n${part}\r\n`).join('')}--${boundary}--\r\n`
  const damaged = random.pick([
    () => body,
    () => body,
    () => body,
    () => body.replace(`--${boundary}--`, ''),
    () => body.replaceAll('\r\n', '\n'),
    () => `preamble\r\n${body}epilogue`,
    () => body.slice(0, random.below(body.length)),
    () => parts.join(`--${boundary}\r\n`).repeat(random.pick([1, 100])),
  ])()
  return { type: chance(random, 95) ? type : 'multipart/form-data', body: damaged }
}

function aPart(random: Random): string {
  const disposition = 'Content-Disposition: form-data'
  return random.pick([
    () =>
      `${disposition}; name=""; filename="${random.pick(['blob', '../../escaped.txt', aText(random)])}"\r\nContent-Type: text/plain\r\n\r\nbytes`,
    () => `${disposition}; name="file"; filename="a"\r\n\r\na line\r\n--frontiersman\r\n--frontie\r\nmore`,
    () => `${disposition}; name="cacheControl"\r\n\r\n${random.pick(['3600', aText(random)])}`,
    () =>
      `${disposition}; name="metadata"\r\n\r\n${random.pick([JSON.stringify(aValue(random)), aText(random), '['.repeat(5000)])}`,
    () => `${disposition}; name="${aText(random)}"\r\n\r\n${aText(random)}`,
    () => `X-Unknown: ${'x'.repeat(random.pick([10, 100_000]))}\r\n\r\nbytes`,
    () => `\r\n${aText(random)}`,
  ])()
}
