import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { GetObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { S3Backend } from '../../../src/backend/s3/s3-backend.ts'
import { readConfig } from '../../../src/config/config.ts'
import { describeWithS3, s3Client, s3Env } from '../../support/s3.ts'
import { openS3Proxy, type ProxiedRequest, type S3Proxy } from '../../support/s3-proxy.ts'
import { newLocation } from '../contract.ts'

const BYTES = randomBytes(100_000)
const isGet = ({ method }: ProxiedRequest) => method === 'GET'

describeWithS3('a store that answers oddly', (s3) => {
  const client = s3Client(s3)
  let spoolDir: string
  let proxy: S3Proxy
  let backend: S3Backend
  let env: Record<string, string>
  beforeAll(async () => {
    spoolDir = await mkdtemp(join(tmpdir(), 'strongroom-spool-'))
    proxy = await openS3Proxy(s3)
    env = await s3Env(s3)
  })
  afterEach(() => backend.close())
  afterAll(async () => {
    client.destroy()
    await proxy.close()
    await rm(spoolDir, { recursive: true })
  })

  function open(endpoint: string): S3Backend {
    // Short, but long enough for a store that does answer in the end, though a busy machine makes it slow.
    const hasty = { STORAGE_S3_ATTEMPTS: '2', STORAGE_S3_TIMEOUT: '3s', STORAGE_S3_CONNECT_TIMEOUT: '3s' }
    const { s3: settings } = readConfig({ ...env, ...hasty, STORAGE_S3_ENDPOINT: endpoint })
    if (!settings) throw new Error('there are no settings for S3')
    backend = new S3Backend({ ...settings, spoolDir })
    return backend
  }

  /** Like the store, but sends all of an object to whoever asks for a part. */
  async function withoutRanges(): Promise<Server> {
    const server = createServer(async (asked, answer) => {
      if (asked.headers.range === undefined) {
        const { method, url, headers } = asked
        const toStore = request(s3.endpoint, { method, path: url, headers, setHost: false, agent: false })
        toStore.on('response', (stored) =>
          stored.pipe(answer.writeHead(stored.statusCode ?? 0, stored.headers)),
        )
        asked.pipe(toStore)
        return
      }
      const [, Bucket, ...key] = (asked.url ?? '').replace(/\?.*/, '').split('/')
      const { Body, ContentLength } = await client.send(new GetObjectCommand({ Bucket, Key: key.join('/') }))
      answer.writeHead(200, { 'content-length': ContentLength }).end(await Body?.transformToByteArray())
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    return server
  }

  it('with other bytes than those of the range never passes them on', async () => {
    const server = await withoutRanges()
    open(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    try {
      const at = newLocation()
      await backend.write(at, BYTES, { maxBytes: BYTES.length })
      const size = BYTES.length
      expect(BYTES.equals(await buffer(await backend.read(at, { size })))).toBe(true)
      const start = await buffer(await backend.read(at, { range: { start: 0, end: 9 }, size }))
      expect(BYTES.subarray(0, 10).equals(start)).toBe(true)
      await expect(backend.read(at, { range: { start: 5, end: 9 }, size })).rejects.toMatchObject({
        code: 'BackendRefused',
      })
    } finally {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    }
  })

  it('and falls silent in the middle of a check is asked for the rest', async () => {
    open(proxy.endpoint)
    const silence = proxy.fail({ at: { responseBytes: 10 }, what: 'stall' }, { times: 1, when: isGet })
    await backend.check()
    expect(silence.count).toBe(1)
  })

  it('and gives nothing back to the check keeps nothing of it', async () => {
    open(proxy.endpoint)
    const injected = proxy.fail({ at: 'before', what: 'cut' }, { when: isGet })
    await expect(backend.check()).rejects.toMatchObject({ code: 'BackendUnavailable' })
    injected.stop()
    const input = { Bucket: env.STORAGE_S3_BUCKET, Prefix: '.check-' }
    expect((await client.send(new ListObjectsV2Command(input))).KeyCount).toBe(0)
  })
})
