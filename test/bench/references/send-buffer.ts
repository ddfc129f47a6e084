/** The least that a GET can be: `node:http` sending one Buffer. */

import { createServer } from 'node:http'
import { argument, tell } from './child.ts'

const { port, size } = argument<{ port: number; size: number }>()
const body = Buffer.alloc(size, 'x')
const headers = { 'content-type': 'application/octet-stream', 'content-length': size }

createServer((_incoming, outgoing) => {
  outgoing.writeHead(200, headers)
  outgoing.end(body)
}).listen(port, '127.0.0.1', () => tell('ready'))
