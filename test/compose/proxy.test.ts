import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { configText, readCompose } from '../support/compose.ts'
import { freePort } from '../support/free-port.ts'
import { describeWith } from '../support/installed.ts'
import { type NameServer, startNameServer } from '../support/name-server.ts'
import { type Nginx, startNginxWith } from '../support/nginx.ts'
import { until } from '../support/wait.ts'

/* What containers would have is loopback here: their addresses, and Docker's DNS. (Linux has all of 127.0.0.0/8.) */

describeWith('nginx', 'the proxy of docker-compose.yml', () => {
  let nginx: Nginx
  let names: NameServer
  let port: number
  /** Where `s3-server` is at the moment. */
  let addresses: string[] = ['127.0.0.2']
  const servers: Server[] = []

  /** Tells its address, and what it was asked. */
  async function serve(address: string): Promise<Server> {
    const server = createServer((request, response) => {
      const { url, headers } = request
      request.resume().on('end', () => response.end(JSON.stringify({ address, url, headers })))
    })
    await new Promise<void>((resolve) => server.listen(port, address, resolve))
    servers.push(server)
    return server
  }
  const stop = (server: Server) => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  }
  const ask = async (path = '/') =>
    (await fetch(`${nginx.url}${path}`)).json() as Promise<Record<string, unknown>>
  const answers = (address: string) => async () =>
    (await ask().catch(() => ({ address: '' }))).address === address

  beforeAll(async () => {
    port = await freePort()
    await serve('127.0.0.2')
    names = await startNameServer((name) => (name === 's3-server' ? addresses : []))
    const text = configText(await readCompose(), 's3-proxy')
    nginx = await startNginxWith((listen) =>
      text
        .replace('resolver 127.0.0.11 ', `resolver 127.0.0.1:${names.port} `)
        .replace('listen 80;', `listen ${listen};`)
        .replaceAll('s3-server:8209', `s3-server:${port}`),
    )
  })
  afterEach(() => {
    addresses = ['127.0.0.2']
  })
  afterAll(async () => {
    await nginx?.close()
    await names?.close()
    for (const server of servers) if ((server.address() as AddressInfo | null) !== null) await stop(server)
  })

  it('passes on the path as it came, whose the request is, and where it came to', async () => {
    const path = '/storage/v1/object/public/box/a%2Fb%20c%C3%A9/..%2f//d.txt?download=x%20y'
    const { url, headers } = await ask(path)
    expect(url).toBe(path)
    expect(headers).toMatchObject({
      host: new URL(nginx.url).host,
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': new URL(nginx.url).host,
    })
    expect(headers).not.toHaveProperty('x-forwarded-prefix')
  })

  it('asks for upgrades where the WebSockets are', async () => {
    const { headers } = await ask('/realtime/v1/websocket?vsn=1.0.0')
    expect(headers).toMatchObject({ connection: 'upgrade' })
  })

  it('finds a server that was made anew at another address, and spreads over those there are', async () => {
    expect((await ask()).address).toBe('127.0.0.2')
    const [old] = servers
    if (old) await stop(old)
    await serve('127.0.0.3')
    addresses = ['127.0.0.3']
    await until(answers('127.0.0.3'), 'nginx has found the new one')

    const both = await serve('127.0.0.4')
    addresses = ['127.0.0.3', '127.0.0.4']
    await until(answers('127.0.0.4'), 'nginx has found the second')
    // One that has just ended is not waited for: the other answers in its place.
    await stop(both)
    for (let turn = 0; turn < 4; turn++) expect((await ask()).address).toBe('127.0.0.3')
  })

  it('has a configuration without complaint', async () => {
    expect(await nginx.errors()).not.toMatch(/\[(?:warn|emerg|crit)\]/)
  })
})
