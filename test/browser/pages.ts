import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'

export interface Pages {
  /** A page with tus-js-client and what is in `page.js`; of another origin than any server of ours. */
  url: string
  /** The same by the host's other name: a third origin. */
  otherUrl: string
  close(): Promise<void>
}

const FILES: Record<string, { type: string; path?: string }> = {
  '/': { type: 'text/html' },
  '/page.js': { type: 'text/javascript', path: './page.js' },
  '/tus.js': { type: 'text/javascript', path: '../../node_modules/tus-js-client/dist/tus.min.js' },
}

const HTML =
  '<!doctype html><title>Upload</title><script src="/tus.js"></script><script src="/page.js"></script>'

export async function servePages(): Promise<Pages> {
  const server = createServer(async (incoming, outgoing) => {
    const file = FILES[incoming.url ?? '']
    if (!file) return outgoing.writeHead(404).end()
    outgoing.setHeader('content-type', file.type)
    return outgoing.end(file.path ? await readFile(fileURLToPath(new URL(file.path, import.meta.url))) : HTML)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo // it listens on TCP
  return {
    url: `http://127.0.0.1:${port}`,
    otherUrl: `http://localhost:${port}`,
    close: async () => {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}
