import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ParsedFamily, parseExposition, seriesOf, sumOf } from '../../support/exposition.ts'
import { scrapeAll } from '../../support/scrape.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { metadataOf } from '../../support/tus-requests.ts'

const TOKEN = 'a-token-for-prometheus-and-nobody-else'

describe.each<[mode: string, env: Record<string, string>]>([
  ['by default', {}],
  ['under STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }],
])('GET /metrics, %s', (_mode, env) => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer({ ...env, STORAGE_METRICS_TOKEN: TOKEN, STORAGE_CLEANUP_INTERVAL: '1h' })
    await server.createBucket('box', { public: true })
    await server.createBucket('files')
  })
  afterAll(() => server.close())

  const scrape = async (): Promise<Map<string, ParsedFamily>> => {
    const response = await server.request('GET', '/metrics', { token: TOKEN })
    expect(response.status).toBe(200)
    return parseExposition(await response.text())
  }
  const upload = (name: string, body: string, token?: string | null) =>
    server.request('POST', `/object/${name}`, { body, ...(token !== undefined && { token }) })

  it.each(['/metrics', '/storage/v1/metrics'])(
    '%s is for the service key and the token of metrics',
    async (path) => {
      for (const token of [server.keys.serviceKey, TOKEN]) {
        const response = await server.request('GET', path, { token })
        expect(response.status).toBe(200)
        expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
        expect(response.headers.get('cache-control')).toBe('no-store')
        expect(parseExposition(await response.text()).size).toBeGreaterThan(40)
      }
    },
  )

  it.each<[who: string, token: (server: TestServer) => string | null | Promise<string>, status: number]>([
    ['nobody', () => null, 401],
    ['who guesses', () => `${TOKEN.slice(0, -1)}f`, 401],
    ['who has a part of the token', () => TOKEN.slice(0, -1), 401],
    ['a browser', ({ keys }) => keys.anonKey, 403],
    ['a user', (server) => server.token('somebody'), 403],
  ])('is not for %s', async (_who, token, status) => {
    const response = await server.request('GET', '/metrics', { token: await token(server) })
    expect(response.status).toBe(status)
    expect(await response.text()).not.toContain('storage_')
  })

  it('opens nothing else with its token, and does nothing else', async () => {
    const buckets = await server.request('GET', '/bucket', { token: TOKEN })
    expect(buckets.ok).toBe(false)
    const post = await server.request('POST', '/metrics', { token: TOKEN })
    expect(post.status).toBe(405)
    const below = await server.request('GET', '/metrics/more', { token: TOKEN })
    expect(below.status).toBe(404)
  })

  it('counts uploads and downloads by bucket, with their bytes', async () => {
    const before = await scrape()
    await upload('box/one.txt', 'x'.repeat(1000))
    await upload('box/one.txt', 'x') // is there already
    await upload('box/two.txt', 'x', server.keys.anonKey) // is not allowed
    for (let count = 0; count < 5; count++)
      await (await fetch(`${server.url}/object/public/box/one.txt`)).text()
    await (await fetch(`${server.url}/object/public/box/one.txt`, { headers: { range: 'bytes=0-9' } })).text()
    await fetch(`${server.url}/object/public/box/one.txt`, { method: 'HEAD' })
    await fetch(`${server.url}/object/public/box/none.txt`)
    const after = await scrape()
    const more = (name: string, labels: Record<string, string>) =>
      sumOf(after, name, labels) - sumOf(before, name, labels)
    const box = { bucket: 'box' }
    expect(more('storage_upload_total', { ...box, status: 'success' })).toBe(1)
    expect(more('storage_upload_total', { ...box, status: 'invalid' })).toBe(1)
    expect(more('storage_upload_total', { ...box, status: 'denied' })).toBe(1)
    expect(more('storage_upload_bytes_total', { ...box, backend: 'local', tenant: 'none' })).toBe(1000)
    expect(more('storage_download_total', { ...box, status: 'success' })).toBe(6)
    expect(more('storage_download_total', { ...box, status: 'invalid' })).toBe(1)
    expect(more('storage_download_bytes_total', box)).toBe(5010)
    expect(more('storage_operations_total', { operation: 'upload' })).toBe(3)
    expect(
      more('storage_operations_total', { operation: 'info' }) +
        more('storage_operations_total', { operation: 'head' }),
    ).toBe(1)
    expect(more('storage_errors_total', {})).toBe(0)
    expect(
      seriesOf(after, 'storage_operation_duration_seconds_count', {
        operation: 'upload',
        backend: 'local',
        tenant: 'none',
      }),
    ).toBe(sumOf(after, 'storage_operations_total', { operation: 'upload' }))
  })

  it('counts the chunks of resumable uploads, and tells of those that are open', async () => {
    const before = await scrape()
    const headers = { 'tus-resumable': '1.0.0', 'upload-length': '10' }
    const begun = await server.request('POST', '/upload/resumable', {
      headers: { ...headers, 'upload-metadata': metadataOf({ bucketName: 'files', objectName: 'a' }) },
    })
    const url = new URL(begun.headers.get('location') ?? '')
    const chunk = await server.request('PATCH', url.pathname, {
      headers: { ...headers, 'upload-offset': '0', 'content-type': 'application/offset+octet-stream' },
      body: '12345',
    })
    expect(chunk.status).toBe(204)
    const after = await scrape()
    const uploaded = (families: typeof after) =>
      sumOf(families, 'storage_upload_bytes_total', { bucket: 'files' })
    expect(uploaded(after) - uploaded(before)).toBe(5)
    expect(sumOf(after, 'storage_upload_total', { bucket: 'files', status: 'success' })).toBe(2)
    expect(sumOf(after, 'storage_requests_total', { surface: 'tus', status: 'success' })).toBe(2)
  })

  it('counts what is found in memory', async () => {
    await upload('box/hot.txt', 'hot')
    const before = await scrape()
    for (let count = 0; count < 10; count++)
      await (await fetch(`${server.url}/object/public/box/hot.txt`)).text()
    const after = await scrape()
    const more = (name: string, cache: string) =>
      (seriesOf(after, name, { cache }) ?? 0) - (seriesOf(before, name, { cache }) ?? 0)
    for (const cache of ['rows', 'bytes']) {
      const [hits, misses] = [
        more('storage_cache_hits_total', cache),
        more('storage_cache_misses_total', cache),
      ]
      expect(hits + misses).toBe(10)
      expect(misses).toBeGreaterThan(0)
    }
    expect(seriesOf(after, 'storage_cache_bytes', { cache: 'bytes' })).toBeGreaterThan(0)
  })

  it('tells how much there is in each bucket, and of the disk', async () => {
    const { families } = await scrapeAll(server)
    expect(seriesOf(families, 'storage_objects', { bucket: 'files', tenant: 'none' })).toBe(0)
    expect(seriesOf(families, 'storage_up', { part: 'database' })).toBe(1)
    expect(seriesOf(families, 'storage_disk_free_bytes')).toBeGreaterThan(0)
    expect(seriesOf(families, 'storage_cleanup_interval_seconds')).toBe(3600)
    expect(seriesOf(families, 'storage_database_connections')).toBeGreaterThan(0)
  })
})
