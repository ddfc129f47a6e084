/** Not a reference but an audience: so many listeners, in a process of their own, who throw away what they hear. */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { argument, tell } from './child.ts'

const { url, path, token } = argument<{ url: string; path: string; token: string }>()
const { hostname, port } = new URL(url)

let listeners: Socket[] = []
let received = 0
// All of them read into one buffer: what they hear must cost them as little as can be.
const buffer = Buffer.alloc(256 * 1024)

/** From now on so many. Answers how many bytes the ones before had got, and how many of them were dropped. */
process.on('message', async ({ count }: { count: number }) => {
  const dropped = listeners.filter((socket) => socket.closed).length
  const bytes = received
  for (const socket of listeners) socket.destroy()
  received = 0
  listeners = []
  // Many at once: each waits for the next ordering of events.
  while (listeners.length < count) {
    const next = Math.min(100, count - listeners.length)
    listeners.push(...(await Promise.all(Array.from({ length: next }, listen))))
  }
  tell({ bytes, dropped })
})
tell('ready')

async function listen(): Promise<Socket> {
  let onAnswer = () => {}
  const answered = new Promise<void>((resolve) => {
    onAnswer = resolve
  })
  const socket = connect({
    host: hostname,
    port: Number(port),
    onread: {
      buffer,
      callback: (length) => {
        received += length
        onAnswer()
        return true
      },
    },
  })
  socket.on('error', () => {}) // counted as dropped
  await once(socket, 'connect')
  socket.write(`GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer ${token}\r\n\r\n`)
  await answered
  return socket
}
