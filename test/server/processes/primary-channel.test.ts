import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Command, newFolder, removeFolder } from '../../support/command.ts'
import { type ParsedFamily, parseExposition, seriesOf, sumOf } from '../../support/exposition.ts'
import { freePort } from '../../support/free-port.ts'
import { until } from '../../support/wait.ts'
import { WorkerLine } from '../../support/worker-line.ts'

let cwd: string
let server: Command
let metrics: string
let lines: WorkerLine[]

beforeAll(async () => {
  cwd = await newFolder()
  const port = await freePort()
  metrics = `http://127.0.0.1:${port}/metrics`
  const env = { STORAGE_PORT: '0', STORAGE_WORKERS: '2', STORAGE_METRICS_PORT: String(port) }
  server = new Command(['serve'], { cwd, env })
  await server.url()
  await until(() => workers().length === 2, 'both workers are in the log')
  const { serviceKey } = JSON.parse(await readFile(join(cwd, 'storage-data', 'keys.json'), 'utf8'))
  lines = await Promise.all(workers().map((worker) => WorkerLine.open(server, worker, serviceKey)))
})
afterAll(async () => {
  for (const line of lines) line.close()
  server.signal('SIGTERM')
  await server.ended
  await removeFolder(cwd, [server])
})

const workers = () =>
  server.logs.filter(({ msg }) => msg === 'a worker listens').map(({ worker }) => Number(worker))
const line = (index: number) => lines[index] as WorkerLine

async function scrape(): Promise<Map<string, ParsedFamily>> {
  return parseExposition(await (await fetch(metrics)).text())
}

const uploads = (families: Map<string, ParsedFamily>) =>
  seriesOf(families, 'storage_upload_total', { bucket: 'box', status: 'success' })

it('tells through any worker, and at the port of its own, what all of them have counted', async () => {
  await line(0).request('POST', '/bucket', ['Content-Type: application/json'], '{"name":"box"}')
  for (const index of [0, 1, 1])
    await line(index).request('POST', `/object/box/${crypto.randomUUID()}`, [], 'x')
  for (const index of [0, 1]) {
    const { status, body } = await line(index).request('GET', '/metrics')
    expect(status).toBe(200)
    expect(uploads(parseExposition(body.toString()))).toBe(3)
  }
  const families = await scrape()
  expect(uploads(families)).toBe(3)
  expect(seriesOf(families, 'storage_processes')).toBe(2)
  expect(seriesOf(families, 'storage_bytes', { bucket: 'box', tenant: 'none' })).toBeGreaterThanOrEqual(0)
  expect(seriesOf(families, 'storage_build_info', { version: '0.1.0' })).toBe(1)
  // The primary, too, has said something of itself.
  expect(sumOf(families, 'process_cpu_seconds_total')).toBeGreaterThan(0)
})

it('tells through any worker how that is which the primary does', async () => {
  for (const index of [0, 1]) {
    const { status, body } = await line(index).request('GET', '/health/detailed')
    expect(status).toBe(200)
    const { checks } = JSON.parse(body.toString())
    expect(Object.keys(checks)).toEqual(['database', 'storage', 'webhooks', 'disk', 'cleanup'])
    expect(checks.cleanup).toMatchObject({ status: 'healthy', message: null })
  }
})

it('never counts backwards when a worker is killed', async () => {
  const before = await scrape()
  process.kill(workers()[1] ?? 0, 'SIGKILL')
  await until(() => workers().length === 3, 'another worker listens')
  const after = await scrape()
  expect(uploads(after)).toBe(3)
  const counters = [...before].filter(([, { type }]) => type === 'counter' || type === 'histogram')
  const fallen = counters.flatMap(([, { samples }]) =>
    samples.filter(({ name, labels, value }) => (seriesOf(after, name, labels) ?? 0) < value),
  )
  expect(fallen).toEqual([])
})
