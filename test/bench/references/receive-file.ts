/** The least that a PUT can be: `node:http` hashing the bytes, writing them and flushing them to the disk. */

import { createHash } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { dirname, join } from 'node:path'
import { argument, tell } from './child.ts'

const BATCH = 1024 * 1024

const { port, folder } = argument<{ port: number; folder: string }>()
let count = 0

createServer((incoming, outgoing) => {
  const path = join(folder, `received-${++count}`)
  void receive(incoming, path).then(async (sha256) => {
    outgoing.end(sha256)
    await rm(path)
  })
}).listen(port, '127.0.0.1', () => tell('ready'))

async function receive(incoming: IncomingMessage, path: string): Promise<string> {
  const file = await open(path, 'wx')
  const hash = createHash('sha256')
  let batch: Buffer[] = []
  let gathered = 0
  let writing: Promise<unknown> = Promise.resolve()
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    hash.update(chunk)
    batch.push(chunk)
    gathered += chunk.length
    if (gathered < BATCH) continue
    await writing // while one batch is written, the next comes in
    writing = file.writev(batch)
    batch = []
    gathered = 0
  }
  await writing
  if (batch.length > 0) await file.writev(batch)
  await file.sync()
  await file.close()
  const parent = await open(dirname(path))
  await parent.sync()
  await parent.close()
  return hash.digest('hex')
}
