import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Daemon, startDaemon } from '../../support/daemon.ts'
import { freePort } from '../../support/free-port.ts'
import { describeWith } from '../../support/installed.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
let folder: string
let nginx: Daemon
let cdn: string
/** A shared cache that knows of us nothing but what HTTP tells it. */
function configuration(home: string, port: number, origin: string): string {
  return `daemon off; master_process off; pid ${home}/nginx.pid; error_log ${home}/error.log;
events {}
http {
  access_log off;
  client_body_temp_path ${home}/body; proxy_temp_path ${home}/temp; fastcgi_temp_path ${home}/f;
  uwsgi_temp_path ${home}/u; scgi_temp_path ${home}/s;
  proxy_cache_path ${home}/cache keys_zone=all:1m;
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass ${origin};
      proxy_cache all;
      proxy_cache_revalidate on;
      add_header X-Cache $upstream_cache_status always;
    }
  }
}`
}

async function upload(path: string, body: string, cacheControl?: string) {
  const headers = { 'content-type': 'text/plain', ...(cacheControl && { 'cache-control': cacheControl }) }
  const response = await server.request('PUT', `/storage/v1/object/${path}`, { body, headers })
  expect(response.ok).toBe(true)
}

async function viaCdn(path: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${cdn}/storage/v1/object/${path}`, { headers })
  return { status: response.status, cache: response.headers.get('x-cache'), body: await response.text() }
}

describeWith('nginx', 'a CDN in front', () => {
  beforeAll(async () => {
    server = await startTestServer()
    await server.createBucket('open', { policy: 'public' })
    await server.createBucket('closed', { policy: 'authenticated' })
    folder = await mkdtemp(join(tmpdir(), 'strongroom-cdn-'))
    const port = await freePort()
    cdn = `http://127.0.0.1:${port}`
    await writeFile(join(folder, 'nginx.conf'), configuration(folder, port, server.url))
    const args = ['-c', join(folder, 'nginx.conf'), '-p', folder, '-e', join(folder, 'error.log')]
    nginx = await startDaemon('nginx', args, join(folder, 'nginx.log'))
    await until(async () => {
      if (nginx.hasEnded) throw new Error(nginx.lastWords())
      return fetch(cdn).then(
        () => true,
        () => false,
      )
    }, 'nginx listens')
  })
  afterAll(async () => {
    await nginx?.kill()
    await server?.close()
    await rm(folder, { recursive: true, force: true })
  })

  it('keeps what may be kept, for every client', async () => {
    await upload('open/kept', 'kept', 'max-age=3600')
    expect(await viaCdn('public/open/kept')).toEqual({ status: 200, cache: 'MISS', body: 'kept' })
    expect(await viaCdn('public/open/kept', { origin: 'https://app.example' })).toEqual({
      status: 200,
      cache: 'HIT',
      body: 'kept',
    })
  })

  it('asks again whether it is the same, and hears 304 or the new one', async () => {
    await upload('open/asked', 'first', 'max-age=1')
    expect(await viaCdn('public/open/asked')).toMatchObject({ cache: 'MISS', body: 'first' })
    let last = await viaCdn('public/open/asked')
    const asked = async () => {
      last = await viaCdn('public/open/asked')
      return last.cache !== 'HIT'
    }
    await until(asked, 'the second is over')
    expect(last).toEqual({ status: 200, cache: 'REVALIDATED', body: 'first' })
    await upload('open/asked', 'second', 'max-age=1')
    await until(asked, 'the second is over again')
    expect(last).toEqual({ status: 200, cache: 'EXPIRED', body: 'second' })
  })

  it('keeps nothing without leave, and nothing that is not for everybody', async () => {
    await upload('open/fresh', 'fresh')
    await upload('closed/secret', 'secret', 'max-age=3600')
    const token = await server.token('somebody')
    const authorization = `Bearer ${token}`
    for (let round = 0; round < 2; round++) {
      expect((await viaCdn('public/open/fresh')).cache).not.toBe('HIT')
      expect(await viaCdn('closed/secret', { authorization })).toMatchObject({ status: 200, body: 'secret' })
      const others = await viaCdn('closed/secret')
      expect(others).toMatchObject({ status: 404 })
      expect(others.body).not.toContain('secret')
    }
  })
})
