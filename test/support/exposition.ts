/** One family of what a server tells Prometheus. */
export interface ParsedFamily {
  type: string
  help: string
  samples: ParsedSample[]
}

export interface ParsedSample {
  name: string
  labels: Record<string, string>
  value: number
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/

const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y

/**
 * Reads Prometheus' text format (version 0.0.4), strictly: each family in one piece, with its help and type before its
 * samples, no series twice, and histograms that add up.
 *
 * @throws at the first line that is wrong
 */
export function parseExposition(text: string): Map<string, ParsedFamily> {
  const families = new Map<string, ParsedFamily>()
  const seen = new Set<string>()
  let current: [name: string, ParsedFamily] | undefined
  if (!text.endsWith('\n')) throw new Error('the last line does not end')
  for (const line of text.slice(0, -1).split('\n')) {
    if (line === '') continue
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? []
    if (kind === 'HELP') {
      if (families.has(name)) throw new Error(`twice: ${line}`)
      current = [name, { type: '', help: rest, samples: [] }]
      families.set(...current)
    } else if (kind === 'TYPE') {
      if (current?.[0] !== name || current[1].type !== '') throw new Error(`not behind its help: ${line}`)
      if (!/^(?:counter|gauge|histogram|summary)$/.test(rest)) throw new Error(`no type: ${line}`)
      current[1].type = rest
    } else {
      const sample = parseSample(line)
      if (!current || !belongs(sample.name, ...current)) throw new Error(`not in its family: ${line}`)
      const series = JSON.stringify([sample.name, Object.entries(sample.labels).sort()])
      if (seen.has(series)) throw new Error(`twice: ${line}`)
      seen.add(series)
      current[1].samples.push(sample)
    }
  }
  for (const [name, family] of families) if (family.type === 'histogram') checkHistogram(name, family)
  return families
}

function parseSample(line: string): ParsedSample {
  const [whole, name = '', list = '', number = ''] = LINE.exec(line) ?? []
  const value = number === '+Inf' ? Number.POSITIVE_INFINITY : Number(number)
  if (whole === undefined || (Number.isNaN(value) && number !== 'Nan')) throw new Error(`no sample: ${line}`)
  const labels: Record<string, string> = {}
  LABEL.lastIndex = 0
  while (LABEL.lastIndex < list.length) {
    const [found, label = '', text = ''] = LABEL.exec(list) ?? []
    if (found === undefined || label in labels) throw new Error(`bad labels: ${line}`)
    labels[label] = text.replace(/\\(.)/g, (_, one) => (one === 'n' ? '\n' : one))
  }
  return { name, labels, value }
}

function belongs(sample: string, name: string, { type }: ParsedFamily): boolean {
  if (type === '') return false
  if (type !== 'histogram' && type !== 'summary') return sample === name
  return ['_bucket', '_sum', '_count'].some((ending) => sample === `${name}${ending}`) || sample === name
}

function checkHistogram(name: string, { samples }: ParsedFamily): void {
  const series = new Map<string, { last: number; infinite?: number; count?: number }>()
  for (const { name: sample, labels, value } of samples) {
    const { le, ...others } = labels
    const key = JSON.stringify(Object.entries(others).sort())
    const one = series.get(key) ?? { last: 0 }
    series.set(key, one)
    if (sample === `${name}_count`) one.count = value
    if (sample !== `${name}_bucket`) continue
    if (value < one.last) throw new Error(`${name} ${key} falls at ${le}`)
    one.last = value
    if (le === '+Inf') one.infinite = value
  }
  for (const [key, { infinite, count }] of series) {
    if (infinite === undefined || infinite !== count) throw new Error(`${name} ${key} does not add up`)
  }
}

/** The value of one series; undefined when there is none. @param labels all of them */
export function seriesOf(
  families: Map<string, ParsedFamily>,
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  const wanted = JSON.stringify(Object.entries(labels).sort())
  const family = families.get(name) ?? families.get(name.replace(/_(?:bucket|sum|count)$/, ''))
  return family?.samples.find(
    (sample) => sample.name === name && JSON.stringify(Object.entries(sample.labels).sort()) === wanted,
  )?.value
}

/** The sum of all series of a family that have these labels. */
export function sumOf(
  families: Map<string, ParsedFamily>,
  name: string,
  labels: Record<string, string> = {},
): number {
  const samples = families.get(name)?.samples ?? []
  return samples
    .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
    .reduce((total, { value }) => total + value, 0)
}
