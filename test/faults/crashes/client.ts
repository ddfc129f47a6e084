/**
 * A client process: writers that ask one thing after the other, all at once, until they are told to stop.
 *
 *     node --import tsx client.ts <name> <seed>
 */

import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { signRequest, UNSIGNED } from '../../support/s3-signer.ts'
import { Random } from '../random.ts'
import { anyInParts, type SendS3, sendInParts } from '../upload-in-parts.ts'
import { type FromClient, keysOf, now, type ToClient, type Work, writersOf } from './messages.ts'
import { type Answer, isOpen, type Operation } from './operation.ts'

const [, , name = '', seed = ''] = process.argv
const random = new Random(Number(seed))

/** Nobody waits as long for an answer. In milliseconds. */
const PATIENCE_MS = 25_000

/** Ways to send content: the first is what a body with a length is, small or streamed by its size. */
const BODIES = ['whole', 'whole', 'chunked', 'form'] as const

let work: Work = { url: '', token: '', keys: { accessKeyId: '', secretAccessKey: '' }, contested: [''] }
let isWorking = false
let serial = 0

function tell(message: FromClient): void {
  process.send?.(message)
}

process.on('message', (message: ToClient) => {
  isWorking = message.tell === 'work'
  if (message.tell !== 'work') return
  work = message
  const writers = [...writersOf(name).map((writer) => ask(writer)), ask(null)]
  void Promise.all(writers).then(() => tell({ tell: 'idle' }))
})
process.on('disconnect', () => process.exit())

async function ask(writer: string | null): Promise<void> {
  while (isWorking) {
    const { operation, content } = writer === null ? contend() : choose(keysOf(writer))
    // Like a client that wants it done. This also bounds in how many ways the answers can be explained.
    while (isWorking && isOpen(await askOnce(writer, operation, content))) await delay(50)
  }
}

async function askOnce(writer: string | null, operation: Operation, content: Buffer): Promise<Answer> {
  tell({ tell: 'asks' })
  const askedAt = now()
  // A read that broke off has no answer either.
  const answer = await answerTo(operation, content).catch((): Answer => ({ status: null }))
  tell({ tell: 'knows', writer, operation, answer, span: { askedAt, answeredAt: now() } })
  return answer
}

function choose(keys: [string, ...string[]]): { operation: Operation; content: Buffer } {
  if (random.below(40) > 0) {
    const content = newContent()
    return { operation: chooseFor(keys, content), content }
  }
  const content = anyInParts(random, newMark())
  const kind = random.below(4) === 0 ? 'abort' : 'put'
  return { operation: { kind, key: random.pick(keys), sha256: hash(content) }, content }
}

function chooseFor(keys: [string, ...string[]], content: Buffer): Operation {
  const [key, to] = [random.pick(keys), random.pick(keys)]
  const sha256 = hash(content)
  const dice = random.below(20)
  if (dice < 3) return { kind: 'insert', key, sha256 }
  if (dice < 10 || key === to) return { kind: 'upsert', key, sha256 }
  if (dice < 12) return { kind: 'delete', key }
  if (dice < 15) return { kind: 'move', from: key, to }
  if (dice < 18) return { kind: 'copy', from: key, to, upsert: random.below(2) === 0 }
  return { kind: 'read', key }
}

function contend(): { operation: Operation; content: Buffer } {
  const content = newContent()
  const key = random.pick(work.contested)
  const sha256 = hash(content)
  const dice = random.below(4)
  if (dice === 0) return { operation: { kind: 'insert', key, sha256 }, content }
  return { operation: dice === 1 ? { kind: 'read', key } : { kind: 'upsert', key, sha256 }, content }
}

/** Content that no other has a part of: small ones take one transaction, those above 256 KiB are streamed. */
function newContent(): Buffer {
  const size = random.below(3) === 0 ? 262_145 + random.below(400_000) : 50 + random.below(20_000)
  return Buffer.alloc(size, ` ${newMark()}`)
}

function newMark(): string {
  return `${name}.${process.pid}.${serial++}`
}

async function answerTo(operation: Operation, content: Buffer): Promise<Answer> {
  switch (operation.kind) {
    case 'insert':
      return send('POST', operation.key, bodyOf(content))
    case 'upsert':
      return send('PUT', operation.key, bodyOf(content))
    case 'put':
    case 'abort': {
      const sent = await sendInParts(sendS3, operation.key, content)
      if ('status' in sent) return sent
      return operation.kind === 'put' ? sent.complete() : sent.abort()
    }
    case 'read':
      return send('GET', operation.key)
    case 'delete':
      return send('DELETE', operation.key)
    case 'move':
      return send('POST', 'move', json(operation))
    case 'copy':
      return send('POST', 'copy', json(operation), { 'x-upsert': String(operation.upsert) })
  }
}

type Body = string | Buffer | FormData | Readable

async function send(method: string, path: string, body?: Body, headers = {}): Promise<Answer> {
  const response = await fetch(`${work.url}/storage/v1/object/${path}`, {
    method,
    headers: {
      authorization: `Bearer ${work.token}`,
      ...(typeof body === 'string' && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body }),
    ...(body instanceof Readable && { duplex: 'half' }),
    signal: AbortSignal.timeout(PATIENCE_MS),
  } as RequestInit)
  const bytes = Buffer.from(await response.arrayBuffer())
  const { status } = response
  return method === 'GET' && status === 200 ? { status, sha256: hash(bytes) } : { status }
}

const sendS3: SendS3 = (method, target, body) => {
  const url = `${work.url}/storage/v1/s3${target}`
  return fetch(url, {
    method,
    headers: signRequest({ method, url, payload: UNSIGNED }, work.keys),
    ...(body !== undefined && { body }),
    signal: AbortSignal.timeout(PATIENCE_MS),
  } as RequestInit)
}

function bodyOf(content: Buffer): Body {
  const kind = random.pick(BODIES)
  if (kind === 'whole') return content
  if (kind === 'chunked') return Readable.from(piecesOf(content))
  const form = new FormData()
  form.append('', new Blob([new Uint8Array(content)]), 'file')
  return form
}

function* piecesOf(content: Buffer): Generator<Buffer> {
  for (let start = 0; start < content.length; start += 50_000) yield content.subarray(start, start + 50_000)
}

function json({ from, to }: { from: string; to: string }): string {
  const [bucketId, sourceKey] = split(from)
  const [destinationBucket, destinationKey] = split(to)
  return JSON.stringify({ bucketId, sourceKey, destinationBucket, destinationKey })
}

function split(key: string): [bucket: string, name: string] {
  const slash = key.indexOf('/')
  return [key.slice(0, slash), key.slice(slash + 1)]
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
