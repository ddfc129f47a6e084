import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CATALOG } from '../../src/telemetry/metrics/catalog.ts'
import type { ParsedFamily } from '../support/exposition.ts'
import { scrapeAll } from '../support/scrape.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { readPage } from './blocks.ts'

/** What a server says only once there is something to say it of. */
const ONLY_WHEN = new Set([
  'storage_acl_operations_total',
  'storage_requests_refused_total',
  'storage_outbox_lag_events',
  'storage_outbox_lag_seconds',
])

let server: TestServer
let families: Map<string, ParsedFamily>
beforeAll(async () => {
  server = await startTestServer({ STORAGE_CLEANUP_INTERVAL: '1h' })
  await server.createBucket('box')
  ;({ families } = await scrapeAll(server))
})
afterAll(() => server.close())

const ours = () => [...families.keys()].filter((name) => name.startsWith('storage_'))

describe('docs/metrics.md', () => {
  it('has a table of all metrics, as Prometheus is told of them', () => {
    const [, rest = ''] = readPage('docs/metrics.md').split('<!-- metrics -->\n')
    const rows = rest.split('<!-- end -->')[0]?.match(/^\| `.*$/gm)
    const expected = Object.entries(CATALOG).map(([name, { type, labels, help }]) => {
      const list = labels.map((label) => `\`${label}\``).join(', ') || '–'
      return `| \`${name}\` | ${type} | ${list} | ${help} |`
    })
    expect(rows).toEqual(expected)
  })
})

describe('a server', () => {
  it('tells of all these, and of no other', () => {
    expect(ours().sort()).toEqual(Object.keys(CATALOG).sort())
    const silent = ours().filter((name) => families.get(name)?.samples.length === 0 && !ONLY_WHEN.has(name))
    expect(silent).toEqual([])
  })

  it('has their types, sentences and labels', () => {
    for (const [name, { type, help, labels }] of Object.entries(CATALOG)) {
      const family = families.get(name)
      expect([name, family?.type, family?.help]).toEqual([name, type, help])
      for (const sample of family?.samples ?? []) {
        const { le: _, ...others } = sample.labels
        expect([name, Object.keys(others).sort()]).toEqual([name, [...labels].sort()])
      }
    }
  })
})
