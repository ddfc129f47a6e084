import { once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { connect as dial } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { JetStreamManager } from '@nats-io/jetstream'
import { type ConnectionOptions, connect, type NatsConnection } from '@nats-io/transport-node'
import type { PlacedEventJson } from '../../src/events/event.ts'
import { type Daemon, removeAtEnd, startDaemon } from './daemon.ts'
import { freePort } from './free-port.ts'
import { describeWith, isInstalled } from './installed.ts'
import { startTestServer, type TestServer } from './server.ts'
import { until } from './wait.ts'

export const hasNats = isInstalled('nats-server')

/** Runs `suite` where there is a `nats-server`; skips it, by its name, elsewhere. */
export function describeWithNats(name: string, suite: () => void): void {
  describeWith('nats-server', name, suite)
}

/** A real `nats-server` of one's own. */
export interface NatsServer {
  /** Such as `127.0.0.1:20123`. Stays the same over a stop and a start. */
  host: string
  /** A client, as long as the server runs. */
  client(
    login?: Pick<ConnectionOptions, 'user' | 'pass' | 'token' | 'authenticator'>,
  ): Promise<NatsConnection>
  /** Kills it. What is in streams stays. */
  stop(): Promise<void>
  start(): Promise<void>
  /** Ends it and its clients, and removes all it had. */
  remove(): Promise<void>
}

/**
 * @param jetstream whether it has streams
 * @param args more arguments of `nats-server`
 * @param settings text of its configuration file
 */
export async function startNats({
  jetstream = false,
  args = [],
  settings = '',
}: {
  jetstream?: boolean
  args?: string[]
  settings?: string
} = {}): Promise<NatsServer> {
  const folder = mkdtempSync(join(tmpdir(), 'strongroom-nats-'))
  const removeFolder = removeAtEnd(folder)
  const port = await freePort()
  const log = join(folder, 'nats.log')
  const clients: NatsConnection[] = []
  let daemon: Daemon | undefined
  const config = join(folder, 'nats.conf')
  writeFileSync(config, settings)
  const streams = jetstream ? ['-js', '-sd', join(folder, 'streams')] : []

  async function start(): Promise<void> {
    const running = await startDaemon(
      'nats-server',
      ['-c', config, '-a', '127.0.0.1', '-p', String(port), ...streams, ...args],
      log,
    )
    daemon = running
    await until(async () => {
      if (running.hasEnded) throw new Error(`nats-server has ended: ${running.lastWords()}`)
      return speaks(port)
    }, 'nats-server answers')
  }
  async function stop(): Promise<void> {
    await daemon?.kill()
  }
  async function remove(): Promise<void> {
    await Promise.all(clients.map((client) => client.close()))
    await stop()
    await removeFolder()
  }
  await start().catch(async (error: unknown) => {
    await remove()
    throw error
  })
  const host = `127.0.0.1:${port}`
  return {
    host,
    client: async (login = {}) => {
      const client = await connect({ servers: host, reconnect: false, ...login })
      clients.push(client)
      return client
    },
    stop,
    start,
    remove,
  }
}

/** Whether a server says its first line. */
async function speaks(port: number): Promise<boolean> {
  const socket = dial({ host: '127.0.0.1', port })
  try {
    await once(socket, 'data')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

export interface Heard {
  subject: string
  /** What a stream drops duplicates by. */
  messageId: string | undefined
  event: PlacedEventJson
}

/** What comes to a subscriber from now on. */
export async function hear(client: NatsConnection, subject: string): Promise<Heard[]> {
  const heard: Heard[] = []
  client.subscribe(subject, {
    callback: (error, message) => {
      if (error) throw error
      const messageId = message.headers?.get('Nats-Msg-Id')
      heard.push({ subject: message.subject, messageId, event: message.json() })
    },
  })
  await client.flush()
  return heard
}

/** A server that publishes to NATS, from now on all that happens. */
export function startPublishing(url: string, env: Record<string, string> = {}): Promise<TestServer> {
  return startTestServer({ STORAGE_NATS_URL: url, ...env })
}

/** Up to where NATS has the events; null before a server has ever been told of it. */
export async function natsPosition({ admin }: Pick<TestServer, 'admin'>): Promise<number | null> {
  const [row] = await admin`select position from storage.event_sinks where name = 'nats'`
  return row ? Number(row.position) : null
}

/** What a stream has, oldest first. */
export async function contents(streams: JetStreamManager, name: string): Promise<PlacedEventJson[]> {
  const { state } = await streams.streams.info(name)
  const found: PlacedEventJson[] = []
  // An empty one begins at 0, where there is no message.
  for (let seq = Math.max(state.first_seq, 1); seq <= state.last_seq; seq++) {
    const message = await streams.streams.getMessage(name, { seq })
    if (message) found.push(message.json())
  }
  return found
}
