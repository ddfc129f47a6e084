import { createHash } from 'node:crypto'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Browser, hasChromium, startChromium } from '../support/chromium.ts'
import { type Line, NOWHERE, openLine } from '../support/line.ts'
import { type Served, startTestServer, type TestServer } from '../support/server.ts'
import { metadataOf } from '../support/tus-requests.ts'
import { until } from '../support/wait.ts'
import { type Pages, servePages } from './pages.ts'

const MiB = 1024 ** 2
/** What Supabase's documentation asks clients for (wire §5.6). */
const CHUNK = 6 * MiB
/** In milliseconds. */
const RETRY_DELAYS = [0, 50, 100, 200, 400, 800, 1600, 3200]

interface Answer {
  method: string
  status: number
  headers: Record<string, string | null>
}

describe.skipIf(!hasChromium)("a page of another origin, in a browser (needs Debian's chromium)", () => {
  let server: TestServer
  /** For pages of one origin only. */
  let choosy: Served
  let line: Line
  let pages: Pages
  let browser: Browser
  let page: Page

  beforeAll(async () => {
    server = await startTestServer({ STORAGE_MAX_FILE_SIZE: '200MB' })
    await server.createBucket('b', { file_size_limit: null })
    line = await openLine(server.url)
    pages = await servePages()
    choosy = await server.beside({ STORAGE_CORS_ORIGINS: pages.url })
    browser = await startChromium()
  })
  afterAll(async () => {
    await browser?.close()
    await line?.close()
    await pages?.close()
    await choosy?.close()
    await server?.close()
  })
  beforeEach(async () => {
    page = await browser.context.newPage()
    await page.goto(pages.url)
  })
  afterEach(() => page?.close())

  /** Calls a function of `page.js`. */
  function call<Result>(name: string, options: object = {}): Promise<Result> {
    return page.evaluate<Result>(`inPage.${name}(${JSON.stringify(options)})`)
  }

  const answers = () => call<Answer[]>('answers')

  function upload(name: string, options: UploadOptions): Promise<string> {
    const { size, url = line.url, headers = {}, retryDelays = RETRY_DELAYS } = options
    return call('upload', {
      endpoint: `${url}/storage/v1/upload/resumable`,
      headers: { authorization: `Bearer ${server.keys.serviceKey}`, ...headers },
      metadata: { bucketName: 'b', objectName: name },
      chunkSize: CHUNK,
      retryDelays,
      size,
      seed: 1 + size,
    })
  }

  async function storedSha256(name: string): Promise<string> {
    const response = await server.request('GET', `/storage/v1/object/b/${name}`)
    const hash = createHash('sha256')
    for await (const chunk of response.body ?? []) hash.update(chunk)
    return hash.digest('hex')
  }

  it('uploads 100 MiB over a line that is cut halfway, by itself', async () => {
    const uploading = upload('cut.bin', { size: 100 * MiB })
    uploading.catch(() => {}) // awaited below
    await until(() => line.passed >= 50 * MiB, 'half of it has passed')
    line.target = NOWHERE
    const before = line.connections
    await until(() => line.connections >= before + 3, 'the page has tried in vain')
    line.target = server.url

    const sha256 = await uploading
    expect(await storedSha256('cut.bin')).toBe(sha256)
    const info = await server.request('GET', '/storage/v1/object/info/b/cut.bin')
    expect(await info.json()).toMatchObject({ size: 100 * MiB, checksum: sha256 })
    const heard = await answers()
    expect(heard.filter(({ method }) => method === 'POST')).toHaveLength(1)
    const resumed = heard.find(({ method }) => method === 'HEAD')
    expect(Number(resumed?.headers['Upload-Offset'])).toBeGreaterThanOrEqual(48 * MiB)
    // Nothing that the server had was sent again.
    expect(line.passed).toBeLessThan(100 * MiB + CHUNK)
  })

  it('goes on when it is loaded anew, while its old request still hangs in the server', async () => {
    line.bytesPerSecond = 32 * MiB
    const logged = server.logs.length
    const midway = line.passed + 1.5 * CHUNK
    const abandoned = upload('anew.bin', { size: 20 * MiB })
    abandoned.catch(() => {}) // its page goes
    await until(() => line.passed >= midway, 'half of the second chunk has passed')
    line.stall()

    line.bytesPerSecond = Number.POSITIVE_INFINITY
    await page.reload()
    const sha256 = await upload('anew.bin', { size: 20 * MiB })

    expect(await storedSha256('anew.bin')).toBe(sha256)
    // The server did not know that nobody hears its answer to the old request.
    const isPutOff = () => server.logs.slice(logged).some(({ status }) => status === 423)
    await until(isPutOff, 'the old request has been answered')
    const [first, ...others] = await answers()
    expect(first).toMatchObject({ method: 'HEAD', status: 200 })
    expect(Number(first?.headers['Upload-Offset'])).toBeGreaterThanOrEqual(CHUNK)
    expect(new Set(others.map(({ method }) => method))).toEqual(new Set(['PATCH']))
  })

  it('reads where its upload is, how far it has come and when it expires', async () => {
    await upload('read.bin', { size: CHUNK + 1 })

    const [created, first, last] = await answers()
    const expires = expect.stringMatching(/ GMT$/)
    expect(created).toMatchObject({ method: 'POST', status: 201, headers: { 'Upload-Expires': expires } })
    expect(created?.headers.Location).toMatch(`${line.url}/storage/v1/upload/resumable/`)
    const half = { 'Upload-Offset': String(CHUNK), 'Upload-Expires': expires, 'Tus-Resumable': '1.0.0' }
    expect(first).toMatchObject({ method: 'PATCH', status: 204, headers: half })
    const whole = { 'Upload-Offset': String(CHUNK + 1), 'Upload-Expires': null, 'Tus-Complete': '1' }
    expect(last).toMatchObject({ method: 'PATCH', status: 204, headers: whole })
  })

  it('replaces an object only with x-upsert', async () => {
    await upload('twice.bin', { size: 1000 })

    await expect(upload('twice.bin', { size: 2000, retryDelays: [] })).rejects.toThrow('409')
    const sha256 = await upload('twice.bin', { size: 2000, headers: { 'x-upsert': 'true' } })

    expect(await storedSha256('twice.bin')).toBe(sha256)
  })

  it('sends a checksum, and reads that it was wrong', async () => {
    const own = { authorization: `Bearer ${server.keys.serviceKey}`, 'tus-resumable': '1.0.0' }
    const created = await call<FetchAnswer>('ask', {
      url: `${line.url}/storage/v1/upload/resumable`,
      method: 'POST',
      headers: {
        ...own,
        'upload-length': '5',
        'upload-metadata': metadataOf({ bucketName: 'b', objectName: 'sum.txt' }),
      },
    })
    const patch = (checksum: string) =>
      call<FetchAnswer>('ask', {
        url: created.headers.location,
        method: 'PATCH',
        headers: {
          ...own,
          'content-type': 'application/offset+octet-stream',
          'upload-offset': '0',
          'upload-checksum': `sha256 ${createHash('sha256').update(checksum).digest('base64')}`,
        },
        body: 'hello',
      })

    expect(await patch('hullo')).toMatchObject({ status: 460 })
    expect(await patch('hello')).toMatchObject({ status: 204, headers: { 'upload-offset': '5' } })
  })

  it("sends headers of the app's own with everything, and reads what we say", async () => {
    const own = { traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`, baggage: 'a=b', 'x-my-app': 'y' }
    for (const url of [line.url, choosy.url]) {
      const sha256 = await upload('own.bin', {
        size: CHUNK + 1,
        url,
        headers: { ...own, 'x-upsert': 'true' },
      })
      expect(await storedSha256('own.bin')).toBe(sha256)
      const read = await call<FetchAnswer>('ask', {
        url: `${url}/storage/v1/object/b/own.bin`,
        headers: { ...own, authorization: `Bearer ${server.keys.serviceKey}`, range: 'bytes=0-4' },
      })
      expect(read).toMatchObject({
        status: 206,
        headers: {
          'content-range': `bytes 0-4/${CHUNK + 1}`,
          etag: `"sha256-${Buffer.from(sha256, 'hex').toString('base64url')}"`,
          'x-request-id': expect.any(String),
          'x-robots-tag': 'none',
        },
      })
      const refused = await call<FetchAnswer>('ask', { url: `${url}/storage/v1/bucket`, headers: own })
      expect(refused).toMatchObject({ status: 401, headers: { 'www-authenticate': 'Bearer' } })
    }
  })

  it('may upload only from an origin of STORAGE_CORS_ORIGINS', async () => {
    const sha256 = await upload('ours.bin', { size: 1000, url: choosy.url })
    expect(await storedSha256('ours.bin')).toBe(sha256)

    await page.goto(pages.otherUrl)
    const begun = await server.admin`select id from storage.resumable_uploads`
    const refused = upload('theirs.bin', { size: 1000, url: choosy.url, retryDelays: [] })
    await expect(refused).rejects.toThrow('failed to create upload')
    expect(await server.admin`select id from storage.resumable_uploads`).toHaveLength(begun.length)
  })
})

interface UploadOptions {
  /** In bytes. */
  size: number
  url?: string
  headers?: Record<string, string>
  /** In milliseconds. A refusal with 409 is tried again too. */
  retryDelays?: number[]
}

interface FetchAnswer {
  status: number
  /** Those that the page could read. */
  headers: Record<string, string>
  text: string
}
