import { createSocket } from 'node:dgram'
import { once } from 'node:events'

export interface NameServer {
  port: number
  close(): Promise<void>
}

/**
 * A DNS server on the loopback, which knows as many addresses of a name as `lookUp` tells, and lets nobody keep them for
 * long: as Docker's, which says ten minutes, under `valid=`.
 */
export async function startNameServer(lookUp: (name: string) => string[]): Promise<NameServer> {
  const socket = createSocket('udp4')
  socket.on('message', (question, from) => {
    const name = nameIn(question)
    const addresses = lookUp(name)
    const end = 12 + name.length + 2 + 4 // behind the header: the name with its lengths, its type and class
    const header = Buffer.from(question.subarray(0, 12))
    header.writeUInt16BE(addresses.length > 0 ? 0x8180 : 0x8183, 2) // an answer; or there is no such name
    header.writeUInt16BE(addresses.length, 6)
    header.writeUInt32BE(0, 8)
    const answers = addresses.map((address) =>
      // The name of the question, A, IN, 600 seconds, four bytes.
      Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, ...address.split('.').map(Number)]),
    )
    socket.send(Buffer.concat([header, question.subarray(12, end), ...answers]), from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return {
    port: socket.address().port,
    close: () => new Promise((resolve) => socket.close(() => resolve())),
  }
}

/** RFC 1035 §4.1.2. */
function nameIn(question: Buffer): string {
  const labels: string[] = []
  for (let at = 12; question[at]; at += (question[at] ?? 0) + 1) {
    labels.push(question.toString('latin1', at + 1, at + 1 + (question[at] ?? 0)))
  }
  return labels.join('.')
}
