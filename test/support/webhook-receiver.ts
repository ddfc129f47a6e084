import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'

/** How a receiver answers: with a status, never, or by breaking the connection. */
export type Behaviour = number | 'stalls' | 'drops' | { status: number; headers: Record<string, string> }

/** One request, as it came. */
export interface Delivery {
  path: string
  headers: IncomingHttpHeaders
  body: string
  json: Record<string, unknown>
  /** Whether it was taken. */
  isTaken: boolean
}

/** Somebody who has a webhook: a real HTTP server. */
export interface Receiver {
  /** Without a path. */
  url: string
  /** All requests, in the order of their ends. */
  deliveries: Delivery[]
  /** Chosen for each request; 200 at first. */
  behaviour: (delivery: Delivery) => Behaviour | Promise<Behaviour>
  /** The bodies that were taken, in order. */
  taken(): Record<string, unknown>[]
  close(): Promise<void>
}

export async function startReceiver(): Promise<Receiver> {
  const deliveries: Delivery[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('error', () => {}) // a sender that has given up
    request.on('end', async () => {
      const body = Buffer.concat(chunks).toString()
      const { url = '', headers } = request
      const delivery = { path: url, headers, body, json: JSON.parse(body), isTaken: false }
      deliveries.push(delivery)
      delivery.isTaken = answer(response, await receiver.behaviour(delivery))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const receiver: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    deliveries,
    behaviour: () => 200,
    taken: () => deliveries.filter(({ isTaken }) => isTaken).map(({ json }) => json),
    close: async () => {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
  return receiver
}

function answer(response: ServerResponse, behaviour: Behaviour): boolean {
  if (behaviour === 'stalls') return false
  if (behaviour === 'drops') {
    response.destroy()
    return false
  }
  const { status, headers } = typeof behaviour === 'number' ? { status: behaviour, headers: {} } : behaviour
  response.writeHead(status, headers).end('thank you')
  return status >= 200 && status < 300
}

/** Checks a delivery as a user of the standard's own library would, and returns its body. */
export function verified({ headers, body }: Delivery, secret: string): unknown {
  return new Webhook(secret).verify(body, headers as Record<string, string>)
}
