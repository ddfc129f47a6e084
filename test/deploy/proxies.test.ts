import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { createClient } from '@supabase/supabase-js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import WebSocket from 'ws'
import { parse } from 'yaml'
import { newFolder, removeFolder } from '../support/command.ts'
import { openEvents } from '../support/event-stream.ts'
import { freePort } from '../support/free-port.ts'
import { describeWith } from '../support/installed.ts'
import { startNginxWith } from '../support/nginx.ts'
import { ROOT } from '../support/project-texts.ts'
import { seededBytes, sha256 } from '../support/seeded-bytes.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { chunks, startUpload } from '../support/tus.ts'
import { until } from '../support/wait.ts'

const MiB = 1024 * 1024

/** Where the examples have one server, and where they are reached. */
const SERVER = '127.0.0.1:8209'
const SITE = 'storage.example.com'

const example = (path: string) => readFile(join(ROOT, 'deploy', path), 'utf8')

/** @throws when there is nothing to replace: the example is another one now */
function replaced(text: string, changes: [what: string | RegExp, by: string][]): string {
  return changes.reduce((result, [what, by]) => {
    if (!(typeof what === 'string' ? result.includes(what) : what.test(result))) {
      throw new Error(`The example has no ${what}`)
    }
    return result.replaceAll(what, by)
  }, text)
}

interface Proxy {
  url: string
  close(): Promise<void>
}

/** The example for nginx without TLS, at a port of its own. */
async function nginxBefore(server: TestServer): Promise<Proxy> {
  const text = await example('nginx/strongroom.conf')
  return startNginxWith((listen) =>
    replaced(text, [
      ['listen 443 ssl;', `listen ${listen};`],
      [/ssl_certificate\w* .*;/g, ''],
      [SERVER, new URL(server.url).host],
    ]),
  )
}

async function caddyBefore(server: TestServer): Promise<Proxy> {
  const folder = await newFolder()
  const url = `http://127.0.0.1:${await freePort()}`
  const site = replaced(await example('caddy/Caddyfile'), [
    [SITE, url],
    [SERVER, new URL(server.url).host],
  ])
  const file = join(folder, 'Caddyfile')
  await writeFile(file, `{\n\tadmin off\n}\n${site}`)
  const caddy: ChildProcess = spawn('caddy', ['run', '--config', file, '--adapter', 'caddyfile'], {
    env: { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    stdio: 'ignore',
  })
  const close = async () => {
    const ended = once(caddy, 'exit')
    // In order it would wait for the connections that clients keep.
    if (caddy.exitCode === null && caddy.kill('SIGKILL')) await ended
    await removeFolder(folder, [])
  }
  const isUp = () => fetch(`${url}/status`).then(({ ok }) => ok)
  await until(() => isUp().catch(() => false), 'Caddy answers').catch(async (error: unknown) => {
    await close()
    throw error
  })
  return { url, close }
}

describeWith('nginx', 'behind the example for nginx', () => clientsBehind(nginxBefore))
describeWith('caddy', 'behind the example for Caddy', () => clientsBehind(caddyBefore))

/** What every client has to find there as it is without a proxy. */
function clientsBehind(startProxy: (server: TestServer) => Promise<Proxy>): void {
  let server: TestServer
  let proxy: Proxy
  /** The server as it is found behind the proxy. */
  let behind: { url: string; keys: { serviceKey: string } }
  beforeAll(async () => {
    server = await startTestServer({ STORAGE_TRUST_PROXY: 'true' })
    await server.createBucket('box')
    proxy = await startProxy(server)
    behind = { url: proxy.url, keys: server.keys }
  })
  afterAll(async () => {
    await proxy?.close()
    await server?.close()
  })

  it('a file of some MiB goes up and down, and a signed URL leads there', async () => {
    const client = createClient(proxy.url, server.keys.serviceKey, {
      realtime: { transport: WebSocket as never },
    })
    const files = client.storage.from('box')
    const bytes = seededBytes('large', 5 * MiB)
    expect((await files.upload('a b/ü.bin', bytes)).error).toBeNull()
    const { data } = await files.download('a b/ü.bin')
    expect(sha256(Buffer.from(await (data as Blob).arrayBuffer()))).toBe(sha256(bytes))

    const signed = await files.createSignedUrl('a b/ü.bin', 60)
    expect(signed.data?.signedUrl).toContain(`${proxy.url}/storage/v1/object/sign/`)
    const opened = await fetch(signed.data?.signedUrl ?? '', { headers: { range: 'bytes=0-9' } })
    expect([opened.status, Buffer.from(await opened.arrayBuffer())]).toEqual([206, bytes.subarray(0, 10)])
  })

  it('a resumable upload finds its way back, piece by piece', async () => {
    const bytes = seededBytes('pieces', 3 * MiB)
    const upload = startUpload(bytes, {
      endpoint: `${proxy.url}/storage/v1/upload/resumable`,
      chunkSize: MiB,
      headers: { authorization: `Bearer ${server.keys.serviceKey}` },
      metadata: { bucketName: 'box', objectName: 'pieces.bin' },
    })
    await upload.done
    expect(upload.upload.url).toContain(`${proxy.url}/storage/v1/upload/resumable/`)
    expect(chunks(upload)).toEqual([0, MiB, 2 * MiB])
  })

  it('events come while the stream is open', async () => {
    const reader = await openEvents(behind, { query: '?bucket=box' })
    await server.request('PUT', '/object/box/heard.txt', { body: 'x' })
    expect(await reader.hears(1)).toEqual(['object.created heard.txt'])
    reader.close()
    await reader.ended
  })

  it('a channel opens', async () => {
    const socket = new WebSocket(
      `${proxy.url.replace('http', 'ws')}/realtime/v1/websocket?vsn=1.0.0&apikey=${server.keys.anonKey}`,
    )
    await once(socket, 'open')
    socket.close()
    await once(socket, 'close')
  })

  it('S3 clients sign for the address that they know', async () => {
    const options: S3ClientConfig = {
      endpoint: `${proxy.url}/storage/v1/s3`,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: server.keys.s3,
    }
    const client = new S3Client(options)
    const Body = seededBytes('parts', 6 * MiB)
    await new Upload({ client, params: { Bucket: 'box', Key: 'by s3', Body }, partSize: 5 * MiB }).done()
    client.destroy()
    const found = await server.request('GET', '/object/box/by%20s3')
    expect(sha256(Buffer.from(await found.arrayBuffer()))).toBe(sha256(Body))
  })

  it('the address of a caller is the one that the proxy has seen', async () => {
    const spoofed = { headers: { 'x-forwarded-for': '203.0.113.9' } }
    expect((await fetch(`${proxy.url}/storage/v1/object/public/box/none`, spoofed)).status).toBe(404)
    const told = JSON.stringify(server.logs)
    expect(told).not.toContain('203.0.113.9')
  })
}

describe('the example for Traefik', () => {
  it('leads a name to servers that are asked whether they are ready', async () => {
    const { http } = parse(await example('traefik/strongroom.yml'))
    const { strongroom } = http.services
    expect(http.routers.strongroom).toMatchObject({ rule: `Host(\`${SITE}\`)`, service: 'strongroom' })
    expect(strongroom.loadBalancer.servers).toEqual([{ url: `http://${SERVER}` }])
    const { path } = strongroom.loadBalancer.healthCheck
    const server = await startTestServer()
    const { status } = await fetch(`${server.url}${path}`)
    await server.close()
    expect(status).toBe(200)
  })
})
