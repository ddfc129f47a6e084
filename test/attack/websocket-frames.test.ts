import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type RawClient, RealtimeClients } from '../http/realtime/clients.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { besideInnocent } from './support/innocent.ts'

let server: TestServer
const clients = new RealtimeClients(() => server)
beforeAll(async () => {
  server = await startTestServer()
})
afterEach(() => clients.close())
afterAll(() => server.close())

/** How the server has ended the connection of a client that sends and sends, and does not care for errors. */
async function ended(client: RawClient): Promise<{ code: number; reason: string }> {
  client.socket.on('error', () => {})
  return new Promise((resolve) => {
    client.socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }))
  })
}

/** Does the same on several connections, and tells how each ended. */
async function onEach(count: number, attack: (client: RawClient) => void | Promise<void>) {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const client = await clients.raw()
      const end = ended(client)
      await attack(client)
      return end
    }),
  )
}

/**
 * Sends the frame so many times, each once the system has taken the one before: the innocent client lives in this
 * process, too, and is to be held up by the server alone. Ends with the connection.
 */
async function sendEach({ socket }: RawClient, frame: string, count: number): Promise<void> {
  for (let sent = 0; sent < count && socket.readyState === socket.OPEN; sent++) {
    await new Promise((resolve) => socket.send(frame, resolve))
  }
}

const levels = (count: number) => '['.repeat(count) + ']'.repeat(count)

describe('who has the public key and a WebSocket', () => {
  it('cannot keep the server busy with frames that are nested', async () => {
    const { result } = await besideInnocent(server, () =>
      onEach(50, (client) => sendEach(client, levels(30_000), 50)),
    )
    for (const end of result) {
      expect(end).toEqual({ code: 1007, reason: 'a text frame must not be nested more than 32 deep' })
    }
  })

  it('is not told off for what apps send', async () => {
    const client = await clients.raw()
    const payload = { config: {}, meta: JSON.parse(levels(29)) }
    expect((await client.join('realtime:storage', payload)).payload.status).toBe('ok')
    for (let count = 0; count < 100; count++) client.send(`realtime:${count}`, 'phx_join', { config: {} })
    for (let count = 0; count < 100; count++) client.send(`realtime:${count}`, 'access_token', {})
    expect((await client.reply(client.send('phoenix', 'heartbeat'))).payload.status).toBe('ok')
  })

  it.each<[string, (client: RawClient) => void]>([
    ['messages', (client) => client.send('phoenix', 'heartbeat')],
    ['answers to pings', ({ socket }) => socket.pong()],
  ])('cannot send %s without end: is told to stop, and then cut off', async (_what, send) => {
    const { result } = await besideInnocent(server, async () => {
      // Who hears that he should go, answers, and has gone.
      const polite = await onEach(10, (client) => {
        for (let count = 0; count < 500; count++) send(client)
      })
      // Who does not stop is not waited for.
      const deaf = await onEach(10, (client) => {
        for (let count = 0; count < 5000; count++) send(client)
      })
      return { polite, deaf }
    })
    for (const end of result.polite) {
      expect(end).toEqual({
        code: 1008,
        reason: 'too many frames: at most 300 at once, and 30 a second',
      })
    }
    for (const { code } of result.deaf) expect([1006, 1008]).toContain(code)
  })

  it('cannot send pings without end: nobody waits until it has read the answers', async () => {
    const { result } = await besideInnocent(server, () =>
      onEach(10, ({ socket }) => {
        for (let count = 0; count < 5000; count++) socket.ping()
      }),
    )
    for (const { code } of result) expect([1006, 1008]).toContain(code)
  })

  it('has long frames counted for more', async () => {
    const [end] = await onEach(1, (client) => {
      const payload = { padding: 'x'.repeat(60_000) }
      for (let count = 0; count < 40; count++) client.send('realtime:nowhere', 'shout', payload)
    })
    expect(end?.code).toBe(1008)
  })

  it.each<[string, (client: RawClient) => void, number]>([
    [
      'pieces of nothing',
      ({ socket }) => {
        for (let count = 0; count < 1000; count++) socket.send('', { fin: false })
      },
      1008,
    ],
    ['one that is too long', ({ socket }) => socket.send('x'.repeat(64 * 1024 + 1)), 1009],
  ])('cannot make frames out of %s', async (_what, attack, code) => {
    const [end] = await onEach(1, attack)
    expect(end?.code).toBe(code)
  })
})
