import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import { rawAnswer } from './message/raw-answer.ts'
import { loggedError } from './middleware/error-response.ts'
import type { RequestEnds } from './request-end.ts'
import { headersOf, type RequestContext, type WebSockets } from './surface.ts'

/** Lets a request's surface make its connection a WebSocket, or tells why not. */
export async function openWebSocket(parts: {
  webSockets: WebSockets
  request: RequestContext
  socket: Socket
  head: Buffer
  ends: RequestEnds
  logger: Logger
}): Promise<void> {
  const { webSockets, request, socket, head, ends, logger } = parts
  const onError = () => {} // Node listens no more, and a client that has gone is no fault
  socket.on('error', onError)
  try {
    const isOpen = await webSockets.open(request, socket, head)
    socket.off('error', onError)
    ends.answered(request, isOpen ? 101 : 400)
  } catch (thrown) {
    const answer = request.surface.error(loggedError(request, thrown, logger), request)
    ends.answered(request, answer.status)
    // A client that does not close its side would keep the connection half open.
    socket.once('finish', () => socket.destroy())
    socket.end(rawAnswer(answer, headersOf(request)))
  }
}

/**
 * Serves a request as if it had not asked for another protocol, as it has to be with those that are not spoken here
 * (RFC 9110 §7.8): some clients ask for HTTP/2 with every first request. Node, once it knows of upgrades, hands us all
 * of them with what is left of the connection; so the request is put before that again, and read anew.
 */
export function goOnWithout(server: Server, incoming: IncomingMessage, socket: Socket, head: Buffer): void {
  const { method, url, httpVersion, rawHeaders } = incoming
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = '', value = ''] = rawHeaders.slice(index, index + 2)
    if (name.toLowerCase() === 'upgrade') continue
    lines.push(`${name}: ${name.toLowerCase() === 'connection' ? withoutUpgrade(value) : value}`)
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]))
  server.emit('connection', socket)
}

/** The other options of a connection. */
function withoutUpgrade(options: string): string {
  return options
    .split(',')
    .filter((option) => option.trim().toLowerCase() !== 'upgrade')
    .join(',')
}
