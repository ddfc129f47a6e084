import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { Lingering, type LingeringLimits } from '../../../src/http/connection/lingering.ts'
import { RawConnection, rawRequest } from '../../support/raw-http.ts'
import { until } from '../../support/wait.ts'

const PIECE = Buffer.alloc(100_000, 'x')

let server: Server
let closed = 0
afterEach(() => {
  server.closeAllConnections()
  server.close()
})

/** A server that refuses all at once. */
async function refusing(limits: Partial<LingeringLimits>): Promise<string> {
  closed = 0
  const most = { silenceMs: 60_000, totalMs: 60_000, bytes: 2 ** 30, connections: 10 }
  const lingering = new Lingering({ ...most, ...limits })
  server = createServer((incoming, outgoing) => {
    lingering.watch(incoming, outgoing)
    outgoing.writeHead(403, { 'Content-Length': '2' }).end('no')
  })
  server.on('connection', (socket) => socket.on('close', () => closed++))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A connection that has been refused, and has most of its body still to send. */
async function refused(url: string, ...headers: string[]): Promise<RawConnection> {
  const connection = await RawConnection.open(url)
  await connection.send(rawRequest('PUT', '/', ['Content-Length: 1000000000', ...headers]), PIECE)
  expect((await connection.response()).status).toBe(403)
  return connection
}

/** Sends until the other side has gone. */
async function sendOn(connection: RawConnection, isOver: () => boolean): Promise<number> {
  let sent = 0
  while (!isOver()) {
    await connection.send(PIECE)
    sent += PIECE.length
    await setImmediate() // a connection that is gone takes all at once, and nobody else gets a turn
  }
  return sent
}

describe('a connection whose request was refused before its body was there', () => {
  it.each([[], ['Connection: close']])('ends when its client is silent (%j)', async (...headers) => {
    const url = await refused(await refusing({ silenceMs: 100 }), ...headers)
    await until(() => closed === 1, 'it is closed')
    url.abort()
  })

  it.each([[], ['Connection: close']])('ends when its client sends for too long (%j)', async (...headers) => {
    const connection = await refused(await refusing({ totalMs: 200 }), ...headers)
    await sendOn(connection, () => closed === 1)
  })

  it.each([[], ['Connection: close']])('ends when its client sends too much (%j)', async (...headers) => {
    const connection = await refused(await refusing({ silenceMs: 100, bytes: 2_000_000 }), ...headers)
    expect(await sendOn(connection, () => closed === 1)).toBeGreaterThanOrEqual(1_900_000)
  })

  it('ends when too many others do the same, the oldest first', async () => {
    const url = await refusing({ connections: 2 })
    const connections = [await refused(url), await refused(url)]
    expect(closed).toBe(0)
    connections.push(await refused(url))
    await until(() => closed === 1, 'one is closed')
    expect((await connections[0]?.rest())?.length).toBe(0)
    for (const connection of connections) connection.abort()
  })

  it('ends when its client has sent all, if that was said, and else serves the next request', async () => {
    const url = await refusing({})
    for (const headers of [['Connection: close'], []]) {
      const connection = await RawConnection.open(url)
      const whole = rawRequest('PUT', '/', headers, Buffer.alloc(3_000_000))
      for (let round = 0; round < (headers.length > 0 ? 1 : 20); round++) {
        await connection.send(whole)
        expect((await connection.response()).status).toBe(403)
      }
      if (headers.length > 0) expect(await connection.rest()).toHaveLength(0)
      else connection.abort()
    }
  })
})
