import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Rows of a folder, from its roof down: what stands in one may import what stands below, and nothing beside itself. */
type Floors = string[][]

/** Everything in `src/` has its place here, and so has everything in the folders that have floors of their own. */
const FLOORS: Record<string, Floors> = {
  src: [
    ['main.ts'],
    ['cli'],
    ['server'],
    ['http', 'jobs'],
    ['storage'],
    ['events'],
    ['database'],
    ['backend'],
    ['telemetry'],
    ['config'],
    ['model'],
    ['lib'],
  ],
  'src/server': [
    ['start-server.ts'],
    ['missing-files.ts', 'other-parts.ts', 'processes'],
    ['request-server.ts'],
    ['s3-port.ts', 'services.ts', 'metrics', 'tracing.ts'],
    ['audit-log.ts', 'consul.ts', 'keys.ts', 'log.ts', 'looks.ts', 'node-version.ts', 'open-file-limit.ts'],
    ['gathered-lines.ts', 'terminal-log.ts'],
  ],
  'src/http': [
    ['http-server.ts'],
    ['app.ts', 'unparsable.ts', 'upgrade.ts'],
    ['rest', 'tus', 'realtime', 's3', 'metrics'],
    ['services.ts'],
    ['auth', 'middleware', 'openapi'],
    ['message'],
    ['connection'],
    ['env.ts', 'request-end.ts'],
    ['surface.ts', 'route-table.ts'],
    ['request-target.ts'],
  ],
  'src/jobs': [
    ['schedules.ts'],
    ['cleanup-health.ts', 'cleanup-metrics.ts'],
    [
      ...[
        'orphan-cleanup.ts',
        'audit-months.ts',
        'expired-rows.ts',
        'version-retention.ts',
        'lifecycle.ts',
        'auto-delete.ts',
        'scrub.ts',
        'backend-move.ts',
        'inline-move.ts',
      ],
      'backup',
    ],
    ['cleanup', 'object-move.ts', 'schedule.ts', 'failures.ts'],
    ['throttle.ts', 'turns.ts'],
  ],
  'src/storage': [
    ['shares'],
    ['links', 'time-travel.ts'],
    ['file-storage.ts', 'filtered-lists.ts', 'object-lists.ts', 'object-locks.ts'],
    ['copying.ts'],
    ['versions'],
    ['multipart'],
    ['resumable'],
    ['uploads'],
    ['inline'],
    ['idempotent-requests.ts'],
    ['buckets', 'credentials', 'backups', 'rates', 'audit', 'lifecycle'],
    ['writing', 'reading'],
    ['detection'],
    ['object'],
  ],
  'src/events': [
    ['open.ts'],
    ['subscribers', 'nats', 'webhooks'],
    ['sink.ts'],
    ['outbox.ts', 'event.ts', 'event-filter.ts', 'delivery-counts.ts'],
  ],
  'src/database': [
    ['opening'],
    ['dump'],
    ['migrations', 'embedded'],
    ['queries'],
    ['as-caller.ts'],
    ['connection'],
    ['schema.ts'],
  ],
  'src/backend': [
    ['open.ts'],
    ['local', 's3', 'fallback.ts', 'memory-backend.ts', 'measured-backend.ts'],
    ['drain.ts', 'batch-size.ts', 'file-errors.ts', 'check-name.ts'],
    ['resumable-backend.ts'],
    ['backend.ts'],
  ],
}

/** Every file of `src/`, with the files of ours that it imports: for values, for types, or when it is needed. */
const imports = new Map(filesBelow('src').map((file) => [file, importsOf(file)]))

describe('the source', () => {
  it('is read as it is', () => {
    expect(imports.get('src/main.ts')).toEqual([
      'src/server/node-version.ts',
      'src/server/open-file-limit.ts',
      'src/cli/program.ts',
    ])
    expect(imports.get('src/lib/fsync.ts')).toEqual(['src/lib/concurrency.ts'])
    const unknown = [...imports.values()].flat().filter((file) => !imports.has(file))
    expect(unknown).toEqual([])
  })

  describe.each(Object.entries(FLOORS))('%s', (folder, floors) => {
    const isWithin = (file: string) => file.startsWith(`${folder}/`)
    const partOf = (file: string) => relative(folder, file).split('/')[0] ?? ''
    const floorOf = (file: string) => floors.findIndex((floor) => floor.includes(partOf(file)))

    it('has nothing without a place', () => {
      const parts = new Set([...imports.keys()].filter(isWithin).map(partOf))
      expect([...parts].sort()).toEqual(floors.flat().sort())
    })

    it('imports downwards', () => {
      const upwards = [...imports].flatMap(([file, others]) =>
        others
          .filter((other) => isWithin(file) && isWithin(other) && partOf(file) !== partOf(other))
          .filter((other) => floorOf(other) <= floorOf(file))
          .map((other) => `${file} imports ${other}`),
      )
      expect(upwards).toEqual([])
    })
  })

  it('has one driver, which is ours (decision 0041)', () => {
    const others = [...filesBelow('src'), ...filesBelow('test')].filter((file) =>
      /from '(?:postgres|drizzle-orm\/postgres-js)'/.test(readFileSync(join(ROOT, file), 'utf8')),
    )
    expect(others).toEqual([])
  })

  it('has no files that need each other', () => {
    expect(findCycle()).toEqual([])
  })
})

describe('where to begin reading (docs/development.md)', () => {
  const lists = readingLists()

  it('is said of an upload and of a read', () => expect(Object.keys(lists)).toHaveLength(2))

  it.each(Object.entries(lists))('%s: at most ten files, each led to by one before', (_title, files) => {
    expect(files.length).toBeGreaterThan(1)
    expect(files.length).toBeLessThanOrEqual(10)
    expect(files.filter((file) => !imports.has(file))).toEqual([])
    const lost = files.filter((file, index) => index > 0 && !isLedTo(file, files.slice(0, index)))
    expect(lost).toEqual([])
  })
})

describe('the tests', () => {
  it.each(FLOORS.src?.flat().filter((part) => !part.endsWith('.ts')) ?? [])(
    'of %s lie as what they test',
    (part) => {
      const folders = new Set(filesBelow('src').map(dirname))
      const lost = filesBelow('test').filter(
        (file) => file.startsWith(`test/${part}/`) && !folders.has(dirname(file).replace(/^test/, 'src')),
      )
      expect(lost).toEqual([])
    },
  )
})

/** Their paths from the root on. */
function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8')
  const specifiers = text.matchAll(
    /^(?:import|export)\b(?:[^'"`;]*?\bfrom)?\s*'(\.[^']+)'|\bimport\(\s*'(\.[^']+)'/gm,
  )
  return Array.from(specifiers, ([, at = '', later = '']) => join(dirname(file), at || later))
}

/** By what is read: the files of each numbered list, from the root on. */
function readingLists(): Record<string, string[]> {
  const page = readFileSync(join(ROOT, 'docs/development.md'), 'utf8')
  const section = page.split('\n## ').find((text) => text.startsWith('Where to begin reading\n')) ?? ''
  const lists = section.matchAll(/^(.+):\n\n((?:\d+\. .*\n)+)/gm)
  return Object.fromEntries(
    Array.from(lists, ([, title = '', list = '']) => [
      title,
      list
        .trimEnd()
        .split('\n')
        .map((line) => /^\d+\. \[(\S+)\]\(\.\.\/\1\): ./.exec(line)?.[1] ?? line),
    ]),
  )
}

/** Whether one of these imports a file, or a file that does; or imports the contract that it implements. */
function isLedTo(file: string, before: string[]): boolean {
  const direct = before.flatMap((one) => imports.get(one) ?? [])
  if (direct.includes(file) || direct.some((one) => imports.get(one)?.includes(file))) return true
  const isImplementation = / implements /.test(readFileSync(join(ROOT, file), 'utf8'))
  return isImplementation && (imports.get(file) ?? []).some((contract) => direct.includes(contract))
}

/** A way that leads from a file back to itself; empty if there is none. */
function findCycle(): string[] {
  const done = new Set<string>()
  const follow = (file: string, way: string[]): string[] => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file]
    if (done.has(file)) return []
    for (const other of imports.get(file) ?? []) {
      const cycle = follow(other, [...way, file])
      if (cycle.length > 0) return cycle
    }
    done.add(file)
    return []
  }
  for (const file of imports.keys()) {
    const cycle = follow(file, [])
    if (cycle.length > 0) return cycle
  }
  return []
}
