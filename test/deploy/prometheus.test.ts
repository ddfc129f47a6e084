import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { CATALOG } from '../../src/telemetry/metrics/catalog.ts'
import { readPage } from '../docs/blocks.ts'
import { readCompose } from '../support/compose.ts'
import type { ParsedFamily } from '../support/exposition.ts'
import { describeWith } from '../support/installed.ts'
import { ROOT } from '../support/project-texts.ts'
import { scrapeAll } from '../support/scrape.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

const FOLDER = join(ROOT, 'deploy/prometheus')

interface Rule {
  alert: string
  expr: string
  annotations: { summary: string; runbook: string }
}

interface RuleTest {
  alert_rule_test: { alertname: string; exp_alerts?: object[] }[]
}

interface Panel {
  title: string
  targets?: { expr: string }[]
}

const yaml = (file: string) => parse(readFileSync(join(FOLDER, file), 'utf8'))
const rules: Rule[] = yaml('alerts.yml').groups.flatMap(({ rules }: { rules: Rule[] }) => rules)
const dashboard: { panels: Panel[] } = JSON.parse(
  readFileSync(join(ROOT, 'deploy/grafana/dashboards/strongroom.json'), 'utf8'),
)

let server: TestServer
let text: string
let families: Map<string, ParsedFamily>
beforeAll(async () => {
  server = await startTestServer({ STORAGE_CLEANUP_INTERVAL: '1h' })
  await server.createBucket('box')
  await server.request('POST', '/object/box/a.txt', { body: 'x' })
  ;({ text, families } = await scrapeAll(server))
})
afterAll(() => server.close())

/** What is asked, by who asks it. */
const questions = [
  ...rules.map(({ alert, expr }) => [alert, expr] as const),
  ...dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const)),
]

describe('alerts and dashboard', () => {
  it.each(questions)('%s asks for metrics that there are: %s', (_who, expr) => {
    const named = expr.match(/\b(?:storage|process|nodejs)_\w+(?=[{[\s)>]|$)/g) ?? []
    expect(named.length + (expr.startsWith('up{') ? 1 : 0)).toBeGreaterThan(0)
    const unknown = named.filter((name) => !families.has(name) && !families.has(name.replace(/_bucket$/, '')))
    expect(unknown).toEqual([])
  })

  it.each(questions)('%s knows their labels: %s', (_who, expr) => {
    const known = new Set<string>(['instance', 'job', 'le'])
    for (const { labels } of Object.values(CATALOG)) for (const label of labels) known.add(label)
    const grouped = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(/,\s*/))
    const matched = [...expr.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)].map(([, label = '']) => label)
    expect([...grouped, ...matched].filter((label) => !known.has(label))).toEqual([])
  })

  it('have a test for each alert in which it is raised, and one in which it is not', () => {
    const tests: RuleTest[] = yaml('alerts.test.yml').tests
    const cases = tests.flatMap(({ alert_rule_test: cases }) => cases)
    const raised = new Set(cases.filter(({ exp_alerts: alerts }) => alerts).map(({ alertname }) => alertname))
    expect([...raised].sort()).toEqual(rules.map(({ alert }) => alert).sort())
  })

  it('have a paragraph for each alert, which it names', () => {
    const [, section = ''] = readPage('docs/operations.md').split('\n## Alerts\n')
    const headings = section.split('\n## ')[0]?.match(/^### .*$/gm)
    expect(headings).toEqual(rules.map(({ alert }) => `### ${alert}`))
    for (const { alert, annotations } of rules) {
      expect(annotations.runbook).toBe(`docs/operations.md#${alert.toLowerCase()}`)
    }
  })

  it('show what is asked of a dashboard', () => {
    const titles = dashboard.panels.map(({ title }) => title)
    const wanted = [
      'Upload success ratio, 5 minutes',
      'p95 of uploads by tenant',
      'Bytes by bucket',
      'Throughput',
      'Cache hit rate',
    ]
    expect(titles).toEqual(expect.arrayContaining(wanted))
    expect(new Set(titles).size).toBe(titles.length)
  })
})

describe('docker compose --profile metrics', () => {
  it('gives Prometheus and Grafana what lies here, and asks where the servers have their metrics', async () => {
    const { services, configs } = await readCompose()
    for (const name of ['prometheus', 'grafana']) {
      const given = services[name]?.configs ?? []
      expect(given.length).toBeGreaterThan(0)
      for (const { source } of given) expect(existsSync(join(ROOT, configs[source]?.file ?? '–'))).toBe(true)
    }
    const settings = yaml('prometheus.yml').scrape_configs
    const targets = settings.flatMap((one: Record<string, { targets?: string[] }[]>) =>
      (one.static_configs ?? []).flatMap(({ targets }) => targets ?? []),
    )
    expect(targets).toEqual([`server:${services.server?.environment?.STORAGE_METRICS_PORT}`])
    expect(settings[1].dns_sd_configs[0]).toMatchObject({
      names: ['s3-server'],
      port: Number(services['s3-server']?.environment?.STORAGE_METRICS_PORT),
    })
    for (const name of ['server', 's3-server']) {
      expect(services[name]?.environment?.STORAGE_METRICS_HOST).toBe('0.0.0.0')
    }
  })
})

describeWith('promtool', 'promtool', () => {
  it.each([
    ['check', 'config', 'prometheus.yml'],
    ['check', 'rules', 'alerts.yml'],
    ['test', 'rules', 'alerts.test.yml'],
  ])('%s %s %s', async (...args) => {
    const { code, output } = await promtool(args)
    expect(output).toContain('SUCCESS')
    expect(code).toBe(0)
  })

  it('check rules understands what the dashboard asks', async () => {
    const expressions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
    const rules = expressions.map((expr, index) => ({
      record: `panel:${index}`,
      expr: expr.replaceAll('$instance', '.*'), // which is what Grafana puts there for all of them
    }))
    const folder = await mkdtemp(join(tmpdir(), 'dashboard-'))
    try {
      const file = join(folder, 'rules.yml')
      await writeFile(file, stringify({ groups: [{ name: 'dashboard', rules }] }))
      const { output } = await promtool(['check', 'rules', file])
      expect(output).toContain(`SUCCESS: ${rules.length} rules found`)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('check metrics finds nothing in a scrape but names that are not ours to choose', async () => {
    const { output } = await promtool(['check', 'metrics'], text)
    const found = output.split('\n').filter((line) => line.startsWith('storage_'))
    expect(found).toEqual(['storage_orphan_files_total non-counter metrics should not have "_total" suffix'])
    expect(output).not.toMatch(/error/i)
  })
})

function promtool(args: string[], input = ''): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = execFile('promtool', args, { cwd: FOLDER }, (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), output: stdout + stderr })
    })
    child.stdin?.end(input)
  })
}
