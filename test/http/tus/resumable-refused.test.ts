import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { TusRequests } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'

/** More than the server gathers before it writes. */
const SENT = new Uint8Array(2_000_000)

describe('a chunk with a checksum', () => {
  let server: TestServer
  let tus: TusRequests
  beforeAll(async () => {
    server = await startTestServer()
    tus = new TusRequests(server)
    await server.createBucket('box')
  })
  afterAll(() => server?.close())

  /** How much is in all files, in bytes. */
  async function written(): Promise<number> {
    const paths = (await server.storedFiles()).map((file) => join(server.dataDir, 'objects', file))
    const sizes = await Promise.all(paths.map(async (path) => (await stat(path)).size))
    return sizes.reduce((sum, size) => sum + size, 0)
  }

  /** Sends some of a chunk, and then nothing more until the signal cuts it. */
  function sendSome(url: string, cut = new AbortController().signal): Promise<Response> {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(SENT)
        cut.addEventListener('abort', () => controller.error(cut.reason), { once: true })
      },
    })
    const checksum = `md5 ${createHash('md5').update('other').digest('base64')}`
    const type = 'application/offset+octet-stream'
    const headers = { 'content-type': type, 'upload-offset': '0', 'upload-checksum': checksum }
    return tus.send('PATCH', url, { body, headers })
  }

  it('takes no room on the disk once it has broken off', async () => {
    const url = await tus.begin('broken.bin', 3_000_000)
    const cutting = new AbortController()
    const sending = sendSome(url, cutting.signal)
    await until(async () => (await written()) > 1_000_000, 'the server has written')
    cutting.abort()
    await expect(sending).rejects.toThrow()
    expect((await tus.head(url)).headers.get('upload-offset')).toBe('0')
    expect(await written()).toBe(0)
  })

  it('stays on the disk when its request has lost the upload: another one may have it by then', async () => {
    const url = await tus.begin('lost.bin', 3_000_000)
    const sending = sendSome(url)
    await until(async () => (await written()) > 1_000_000, 'the server has written')
    await server.admin`select pg_terminate_backend(pid) from strongroom.turns`
    expect((await sending).status).toBe(503)
    expect(await written()).toBeGreaterThan(1_000_000)
  })
})
