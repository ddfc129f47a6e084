import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** Where nothing listens: no server can have port 0. */
export const NOWHERE = 'http://127.0.0.1:0'

/** A network between clients and a server, that a test can slow down, stall, cut, and lead elsewhere. */
export interface Line {
  /** Where clients find it. Stays the same, whatever is behind it. */
  url: string
  /** Where it leads. Of this URL only host and port count. Another one breaks all connections: clients keep them. */
  target: string
  /** How fast bytes pass to the server on each connection, in bytes a second. */
  bytesPerSecond: number
  /** How many bytes have passed to the server, on all connections. */
  readonly passed: number
  /** How many connections clients have made, also those that led nowhere. */
  readonly connections: number
  /** Breaks all connections. */
  cut(): void
  /** Lets nothing move any more on the connections there are, and hides from the server that their clients leave. */
  stall(): void
  close(): Promise<void>
}

export async function openLine(url: string): Promise<Line> {
  let target = url
  const links = new Set<Link>()
  let passed = 0
  let connections = 0
  const server = createServer({ noDelay: true }, (client) => {
    connections++
    const { hostname, port } = new URL(target)
    const upstream = connect({ host: hostname, port: Number(port), noDelay: true })
    const link: Link = { client, upstream, isStalled: false }
    links.add(link)
    client.once('close', () => {
      if (!link.isStalled) upstream.destroy()
    })
    client.on('error', () => {}) // 'close' follows
    upstream.on('error', () => {})
    upstream.once('close', () => {
      links.delete(link)
      client.destroySoon()
    })
    upstream.pipe(client)
    void feed(link)
  })
  const feed = async (link: Link) => {
    const { client, upstream } = link
    try {
      for await (const chunk of client as AsyncIterable<Buffer>) {
        if (link.isStalled) continue
        passed += chunk.length
        if (!upstream.write(chunk)) await once(upstream, 'drain')
        const seconds = chunk.length / line.bytesPerSecond
        if (seconds > 0) await delay(seconds * 1000)
      }
      if (!link.isStalled) upstream.end()
    } catch {
      if (!link.isStalled) upstream.destroy()
    }
  }
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo // it listens on TCP
  const line: Line = {
    url: `http://127.0.0.1:${port}`,
    get target() {
      return target
    },
    set target(next) {
      if (next !== target) line.cut()
      target = next
    },
    bytesPerSecond: Number.POSITIVE_INFINITY,
    get passed() {
      return passed
    },
    get connections() {
      return connections
    },
    cut: () => {
      for (const { client, upstream } of links) {
        client.destroy()
        upstream.destroy()
      }
    },
    stall: () => {
      for (const link of links) {
        link.isStalled = true
        link.upstream.unpipe(link.client).pause()
      }
    },
    close: async () => {
      line.cut()
      server.close()
      await once(server, 'close')
    },
  }
  return line
}

interface Link {
  client: Socket
  upstream: Socket
  isStalled: boolean
}
