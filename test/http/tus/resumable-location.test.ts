import { once } from 'node:events'
import { createServer, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { bytesFor, expectStored, startUpload, tusOptions } from '../../support/tus.ts'
import { TusRequests } from '../../support/tus-requests.ts'

describe('the URL of a resumable upload', () => {
  let proxy: Proxy
  const servers: TestServer[] = []
  beforeAll(async () => {
    proxy = await openProxy()
  })
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.close()))
    await proxy?.close()
  })

  async function serve(env: Record<string, string>): Promise<TestServer> {
    const server = await startTestServer(env)
    servers.push(server)
    await server.createBucket('box')
    return server
  }

  /** Uploads through the proxy; says under which URL. */
  async function uploadThrough(server: TestServer, path: string): Promise<string> {
    const at = { bucket: 'box', name: `a-${++count}.bin` }
    const bytes = bytesFor(at, 5000)
    const endpoint = `${proxy.url}${path}/upload/resumable`
    const upload = startUpload(bytes, { ...tusOptions(server, at, { chunkSize: 2000 }), endpoint })
    await upload.done
    expect(upload.sent).toEqual(['POST', 'PATCH 0', 'PATCH 2000', 'PATCH 4000'])
    await expectStored(server, at, bytes)
    return upload.upload.url ?? ''
  }
  let count = 0

  it('leads through a trusted proxy that takes the prefix away, and puts it back', async () => {
    const server = await serve({ STORAGE_TRUST_PROXY: 'true' })
    proxy.lead(server.url, '/storage/v1', (host) => ({
      host: new URL(server.url).host,
      'x-forwarded-host': host,
      'x-forwarded-proto': 'http',
      'x-forwarded-prefix': '/storage/v1',
    }))

    expect(await uploadThrough(server, '/storage/v1')).toMatch(`${proxy.url}/storage/v1/upload/resumable/`)
  })

  it('leads through a trusted proxy that has the server under another path', async () => {
    const server = await serve({ STORAGE_TRUST_PROXY: 'true' })
    proxy.lead(server.url, '/files/api', (host) => ({
      host: 'inside.test',
      'x-forwarded-host': host,
      'x-forwarded-prefix': '/files/api/',
    }))

    expect(await uploadThrough(server, '/files/api')).toMatch(`${proxy.url}/files/api/upload/resumable/`)
  })

  it('leads where STORAGE_PUBLIC_URL says, whatever the proxy says', async () => {
    const server = await serve({ STORAGE_PUBLIC_URL: proxy.url, STORAGE_TRUST_PROXY: 'true' })
    proxy.lead(server.url, '', () => ({ host: 'inside.test', 'x-forwarded-host': 'other.test' }))

    expect(await uploadThrough(server, '/storage/v1')).toMatch(`${proxy.url}/storage/v1/upload/resumable/`)
  })

  it('says https where the proxy does, and never believes somebody who is no trusted proxy', async () => {
    const forwarded = {
      'x-forwarded-host': 'files.example.com',
      'x-forwarded-proto': 'https',
      'x-forwarded-prefix': '/storage/v1',
    }
    const trusting = await serve({ STORAGE_TRUST_PROXY: 'true' })
    const at = { bucket: 'box', name: 'a' }
    expect(await new TusRequests(trusting).begin(at, 1, { headers: forwarded })).toMatch(
      /^https:\/\/files\.example\.com\/storage\/v1\/upload\/resumable\/[\w-]+$/,
    )

    const other = await serve({})
    expect(await new TusRequests(other).begin(at, 1, { headers: forwarded })).toMatch(
      `${other.url}/storage/v1/upload/resumable/`,
    )
  })

  it('has no prefix where the endpoint has none', async () => {
    const server = await serve({})
    const at = { bucket: 'box', name: 'plain.bin' }
    const endpoint = `${server.url}/upload/resumable`
    const upload = startUpload(bytesFor(at, 10), { ...tusOptions(server, at), endpoint })
    await upload.done

    expect(upload.upload.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/upload\/resumable\/[\w-]+$/)
    await expectStored(server, at, bytesFor(at, 10))
  })
})

interface Proxy {
  url: string
  /** @param strip what it takes off each path @param headers what it sets, given the host that the client named */
  lead(target: string, strip: string, headers: (host: string) => Record<string, string>): void
  close(): Promise<void>
}

/** A reverse proxy as they stand before servers. */
async function openProxy(): Promise<Proxy> {
  let rule: Parameters<Proxy['lead']> = ['', '', () => ({})]
  const server: Server = createServer((incoming, outgoing) => {
    const [target, strip, headers] = rule
    const { method, url = '/' } = incoming
    const path = url.startsWith(strip) ? url.slice(strip.length) : url
    const forwarded = request(`${target}${path}`, {
      method,
      headers: { ...incoming.headers, ...headers(incoming.headers.host ?? '') },
    })
    forwarded.on('error', () => outgoing.destroy())
    forwarded.on('response', (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    incoming.pipe(forwarded)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo // it listens on TCP
  return {
    url: `http://127.0.0.1:${port}`,
    lead: (...next) => {
      rule = next
    },
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
