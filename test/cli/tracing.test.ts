import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { OtlpReceiver } from '../support/otlp-receiver.ts'
import { until, within } from '../support/wait.ts'

/** One data folder, on which server after server is started. */
let cwd: string
let collector: OtlpReceiver
const started: Command[] = []
beforeAll(async () => {
  cwd = await newFolder()
  await writeFile(join(cwd, 'list-loaded.cjs'), LIST_LOADED)
})
beforeEach(async () => {
  collector = await OtlpReceiver.listen()
})
afterEach(() => collector.close())
afterAll(() => removeFolder(cwd, started))

/** Writes down, at the end of the process, which parts of OpenTelemetry it has loaded. */
const LIST_LOADED = `
process.on('exit', () => {
  const names = Object.keys(require.cache).flatMap((path) => /@opentelemetry.([^/\\\\]+)/.exec(path)?.[1] ?? [])
  require('node:fs').writeFileSync('loaded.json', JSON.stringify([...new Set(names)]))
})`

function serve(env: Record<string, string> = {}): Command {
  const settings = {
    STORAGE_PORT: '0',
    STORAGE_AUDIT: 'off',
    NODE_OPTIONS: '--require ./list-loaded.cjs',
    ...env,
  }
  const server = new Command(['serve'], { cwd, env: settings })
  started.push(server)
  return server
}

/** Makes a bucket of that name. */
async function makeBucket(url: string, name: string): Promise<Response> {
  const { serviceKey } = JSON.parse(await readFile(join(cwd, 'storage-data', 'keys.json'), 'utf8'))
  const headers = { authorization: `Bearer ${serviceKey}`, 'content-type': 'application/json' }
  return fetch(`${url}/storage/v1/bucket`, { method: 'POST', headers, body: JSON.stringify({ name }) })
}

async function stop(server: Command): Promise<void> {
  server.signal('SIGTERM')
  expect(await within(server.ended, 'it ends')).toMatchObject({ code: 0 })
  expect(server.logs.at(-1)).toMatchObject({ msg: 'stopped' })
}

const loaded = async () => JSON.parse(await readFile(join(cwd, 'loaded.json'), 'utf8'))

describe('a server without a collector', () => {
  it('loads nothing of OpenTelemetry, and says nothing of traces', async () => {
    const server = serve()
    await makeBucket(await server.url(), 'plain')
    await stop(server)
    expect(await loaded()).toEqual([])
    expect(server.stdout).not.toContain('trace_id')
  })

  it('is one, too, where OpenTelemetry is turned off', async () => {
    const server = serve({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_SDK_DISABLED: 'true' })
    await makeBucket(await server.url(), 'off')
    await stop(server)
    expect(await loaded()).toEqual([])
    expect(collector.requests).toEqual([])
  })
})

describe('a server with a collector', () => {
  it('sends at its end what it has not sent yet, with the headers of the settings', async () => {
    const server = serve({
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/in/a/path`,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_EXPORTER_OTLP_HEADERS: 'api-key=the%20key',
      OTEL_BSP_SCHEDULE_DELAY: '3600000',
      OTEL_SERVICE_NAME: 'files',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
    })
    const response = await makeBucket(await server.url(), 'late')
    await stop(server)
    const span = await collector.request(response.headers.get('x-request-id'))
    expect(span.name).toBe('POST /storage/v1/bucket')
    expect(span.resource).toMatchObject({ 'service.name': 'files', 'deployment.environment.name': 'test' })
    expect(collector.requests[0]).toMatchObject({
      path: '/in/a/path',
      headers: { 'api-key': 'the key', 'content-type': 'application/json' },
    })
    const line = server.logs.find(({ requestId }) => requestId === response.headers.get('x-request-id'))
    expect(line).toMatchObject({ trace_id: span.traceId, span_id: span.spanId })
    expect(await loaded()).toContain('sdk-trace')
  })

  it('serves, and ends, while that answers nothing', async () => {
    collector.taking = 'hangs'
    const server = serve({
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_TIMEOUT: '3600000',
      OTEL_BSP_EXPORT_TIMEOUT: '3600000',
      OTEL_BSP_SCHEDULE_DELAY: '10',
    })
    const url = await server.url()
    expect((await makeBucket(url, 'hanging')).status).toBe(201)
    await until(() => collector.requests.length > 0, 'spans are on their way')
    expect((await makeBucket(url, 'hanging-still')).status).toBe(201)
    await stop(server)
  })

  it('serves, and ends, while there is none, and says so', async () => {
    const nobody = await OtlpReceiver.listen()
    await nobody.close()
    const server = serve({
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url.replace(/:\d+$/, ':9'),
      OTEL_EXPORTER_OTLP_TIMEOUT: '100',
      OTEL_BSP_SCHEDULE_DELAY: '10',
    })
    expect((await makeBucket(await server.url(), 'nobody')).status).toBe(201)
    await server.says('spans do not arrive')
    await stop(server)
    const warnings = server.logs.filter(({ msg }) => msg === 'spans do not arrive')
    expect(warnings).toEqual([
      expect.objectContaining({ level: 'warn', collector: 'http://127.0.0.1:9', reason: expect.any(String) }),
    ])
  })

  it('sends the spans of each of its workers', async () => {
    const server = serve({
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_BSP_SCHEDULE_DELAY: '10',
      STORAGE_WORKERS: '2',
    })
    const url = await server.url()
    const processes = new Set<unknown>()
    let count = 0
    await until(async () => {
      // On connections of their own: those on one are answered by one process.
      const making = Array.from({ length: 4 }, () => makeBucket(url, `of-workers-${count++}`))
      for (const response of await Promise.all(making)) {
        const { resource } = await collector.request(response.headers.get('x-request-id'))
        processes.add(resource['process.pid'])
      }
      return processes.size === 2
    }, 'both have answered')
    expect(processes).not.toContain(server.child.pid)
    await stop(server)
  })
})

it('`strongroom check` says where traces go', async () => {
  const checked = await strongroom(['check'], { cwd, env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url } })
  expect(checked.stdout).toMatch(new RegExp(`ok +traces +.*${collector.url}`))
  const nowhere = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', OTEL_TRACES_SAMPLER: 'always_off' }
  const failed = await strongroom(['check'], { cwd, env: nowhere })
  expect(failed.stdout).toMatch(/warning +traces +.*http:\/\/127\.0\.0\.1:9/)
})
