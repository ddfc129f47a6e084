import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { metadataOf } from '../../support/tus-requests.ts'
import { Ledger } from '../crashes/ledger.ts'
import { type Answer, type Contents, isAcknowledged, type Operation } from '../crashes/operation.ts'
import type { Random } from '../random.ts'
import { anyInParts, contentInParts, type SentParts, SIZES, sendInParts } from '../upload-in-parts.ts'
import type { Machine } from './machine.ts'

/** Names per bucket: few, so that they are overwritten, deleted and made again. */
const NAMES = 6

/** Operations until a writer makes itself another bucket, and removes its oldest one. */
const BUCKET_LIFE = 30
const MOST_BUCKETS = 4

/** A client that asks one thing after the other, and remembers what it was told. */
export class Writer {
  acknowledged = 0
  readonly #name: string
  readonly #machine: Machine
  readonly #random: Random
  readonly #ledger = new Ledger()
  /** The youngest last. */
  readonly #buckets: string[] = []
  readonly #removedBuckets: string[] = []
  /** Its parts are acknowledged, and its completion has had no answer. */
  #sent: (SentParts & { operation: Operation }) | undefined
  #operations = 0
  #nextBucketAt = 0

  constructor(name: string, machine: Machine, random: Random) {
    this.#name = name
    this.#machine = machine
    this.#random = random
  }

  /** Works until the server answers no more. Returns what was wrong with the answers. */
  async work(): Promise<string[]> {
    const problems: string[] = []
    for (;;) {
      if (this.#operations >= this.#nextBucketAt) {
        this.#nextBucketAt = this.#operations + BUCKET_LIFE
        if (this.#buckets.length === MOST_BUCKETS) await this.#removeOldestBucket()
        if ((await this.newBucket()) === undefined) return problems
      }
      const { operation, content } = this.#choose()
      const { answer, problem } = await this.perform(operation, content)
      if (problem !== undefined) problems.push(problem)
      if (answer.status === null) return problems
    }
  }

  /**
   * One of each kind of operation that makes, replaces or moves bytes, copies last.
   *
   * @param keepsNoFiles whether the server has no place for bytes: nothing but a bucket is made
   * @throws when the server does not acknowledge it
   */
  async exercise({ keepsNoFiles = false }: { keepsNoFiles?: boolean | undefined } = {}): Promise<void> {
    const old = await this.#mustMakeBucket()
    if (keepsNoFiles) return
    const upload = (key: string, size: number) => {
      const content = Buffer.alloc(size, ` ${key} ${size}`)
      return this.#must({ kind: 'upsert', key, sha256: hash(content) }, content)
    }
    await upload(`${old}/0`, 1000)
    await upload(`${old}/0`, 2000)
    await upload(`${old}/1`, 400_000)
    await upload(`${old}/2`, 10)
    const pieces = Buffer.alloc(3000, ' in pieces')
    await this.#must({ kind: 'insert', key: `${old}/4`, sha256: hash(pieces), inPieces: true }, pieces)
    await this.#must({ kind: 'delete', key: `${old}/2` })
    await this.#must({ kind: 'move', from: `${old}/1`, to: `${old}/3` })
    const parted = await this.#mustMakeBucket()
    await this.#exerciseParts(parted)
    // Into new folders, whose names nothing else flushes.
    const young = await this.#mustMakeBucket()
    await this.#must({ kind: 'copy', from: `${old}/0`, to: `${young}/0`, upsert: false })
    await this.#must({ kind: 'copy', from: `${old}/3`, to: `${young}/1`, upsert: false })
    await this.#must({ kind: 'copy', from: `${parted}/5`, to: `${young}/2`, upsert: false })
  }

  /** In parts: an object of several files, those of one, an abort, and an upload that is completed when it is checked. */
  async #exerciseParts(bucket: string): Promise<void> {
    const ask = (kind: 'put' | 'abort', key: string, size: number) => {
      const content = contentInParts(size, key)
      return this.#must({ kind, key, sha256: hash(content) }, content)
    }
    await ask('put', `${bucket}/5`, SIZES.joined)
    await ask('put', `${bucket}/2`, SIZES.grown)
    await ask('put', `${bucket}/4`, SIZES.single)
    await ask('abort', `${bucket}/0`, SIZES.grown)
    const key = `${bucket}/1`
    const content = contentInParts(SIZES.joined, key)
    const sent = await sendInParts(this.#machine.s3, key, content)
    if ('status' in sent) throw new Error(`Parts of ${key} were answered ${sent.status}`)
    this.#sent = { ...sent, operation: { kind: 'put', key, sha256: hash(content) } }
  }

  async #mustMakeBucket(): Promise<string> {
    const name = await this.newBucket()
    if (name === undefined) throw new Error('A new bucket was not answered')
    return name
  }

  async #must(operation: Operation, content?: Buffer): Promise<void> {
    const { answer } = await this.perform(operation, content)
    if (!isAcknowledged(answer)) throw new Error(`${JSON.stringify(operation)} was answered ${answer.status}`)
  }

  /** Makes a bucket, in which the next operations will be. Returns its name if it was acknowledged. */
  async newBucket(): Promise<string | undefined> {
    this.#operations++ // so that its name is new
    const name = `${this.#name}-${this.#operations}`
    const body = JSON.stringify({ name })
    const headers = { 'content-type': 'application/json' }
    const response = await this.#machine.request('POST', '/bucket', { body, headers }).catch(() => null)
    if (response === null) return undefined
    if (response.status !== 201) throw new Error(`A new bucket was answered ${response.status}`)
    this.#buckets.push(name)
    return name
  }

  async perform(
    operation: Operation,
    content: Buffer = Buffer.alloc(0),
  ): Promise<{ answer: Answer; problem: string | undefined }> {
    this.#operations++
    const answer = await this.#ask(operation, content).catch((): Answer => ({ status: null }))
    if (isAcknowledged(answer)) this.acknowledged++
    const isRefusal = (answer.status ?? 0) >= 500
    const problem = isRefusal ? `${JSON.stringify(operation)} was answered ${answer.status}` : undefined
    return { answer, problem: this.#ledger.record(operation, answer) ?? problem }
  }

  /** Completes what it has sent, and reads everything back. Returns what is not as it was acknowledged. */
  async check(): Promise<{ found: Contents; problem: string | undefined }> {
    const incomplete = this.#sent && this.#ledger.record(this.#sent.operation, await this.#sent.complete())
    this.#sent = undefined
    const found = new Map<string, string>()
    for (const bucket of [...this.#buckets, ...this.#removedBuckets.splice(0)]) {
      for (let n = 0; n < NAMES; n++) {
        const key = `${bucket}/${n}`
        // An answer that breaks off has lost something, too.
        const { status, sha256 } = await this.#send('GET', key).catch((): Answer => ({ status: null }))
        if (status !== 404) found.set(key, sha256 ?? `status ${status}`)
      }
    }
    return { found, problem: incomplete ?? this.#ledger.settle(found) ?? (await this.#missingBucket()) }
  }

  async #missingBucket(): Promise<string | undefined> {
    for (const bucket of this.#buckets) {
      const { status } = await this.#machine.request('GET', `/bucket/${bucket}`)
      if (status !== 200) return `the bucket ${bucket} was acknowledged, and is answered ${status}`
    }
    return undefined
  }

  /** What was moved out of it before keeps its bytes where they are, in the removed bucket's folders. */
  async #removeOldestBucket(): Promise<void> {
    const [bucket = ''] = this.#buckets
    for (let n = 0; n < NAMES; n++) {
      const { answer } = await this.perform({ kind: 'delete', key: `${bucket}/${n}` })
      if (answer.status === null) return
    }
    this.#buckets.shift()
    this.#removedBuckets.push(bucket)
    const response = await this.#machine.request('DELETE', `/bucket/${bucket}`).catch(() => null)
    if (response?.ok === false) throw new Error(`The removal of a bucket was answered ${response.status}`)
  }

  #choose(): { operation: Operation; content: Buffer } {
    const isInParts = this.#random.below(15) === 0
    const content = isInParts ? anyInParts(this.#random, this.#mark) : this.#newContent()
    const sha256 = hash(content)
    if (!isInParts) return { operation: this.#chooseFor(sha256), content }
    const kind = this.#random.below(4) === 0 ? 'abort' : 'put'
    return { operation: { kind, key: this.#key(), sha256 }, content }
  }

  #chooseFor(sha256: string): Operation {
    const [key, to] = [this.#key(), this.#key()]
    const dice = this.#random.below(20)
    if (dice < 3) return { kind: 'insert', key, sha256, inPieces: this.#random.below(2) === 0 }
    if (dice < 10 || key === to) return { kind: 'upsert', key, sha256 }
    if (dice < 12) return { kind: 'delete', key }
    if (dice < 15) return { kind: 'move', from: key, to }
    if (dice < 19) return { kind: 'copy', from: key, to, upsert: this.#random.below(2) === 0 }
    return { kind: 'read', key }
  }

  /** Mostly in the youngest buckets. */
  #key(): string {
    const age = this.#random.below(1 + this.#random.below(this.#buckets.length))
    return `${this.#buckets.at(-1 - age)}/${this.#random.below(NAMES)}`
  }

  /** Content that no other has a part of: small ones take one transaction, those above 256 KiB are streamed. */
  #newContent(): Buffer {
    const random = this.#random
    const size = random.below(3) === 0 ? 262_145 + random.below(500_000) : 50 + random.below(20_000)
    return Buffer.alloc(size, ` ${this.#mark}`)
  }

  /** Of what is sent next. */
  get #mark(): string {
    return `${this.#name}.${this.#operations}`
  }

  async #ask(operation: Operation, content: Buffer): Promise<Answer> {
    switch (operation.kind) {
      case 'insert':
      case 'upsert': {
        if (operation.kind === 'insert' && operation.inPieces)
          return this.#insertInPieces(operation.key, content)
        // In two pieces, neither of them empty: `fetch` would wait for more for ever.
        const half = content.length / 2
        const isChunked = this.#random.below(4) === 0
        const body = isChunked ? Readable.from([content.subarray(0, half), content.subarray(half)]) : content
        return this.#send(operation.kind === 'insert' ? 'POST' : 'PUT', operation.key, body)
      }
      case 'put':
      case 'abort':
        return this.#sendInParts(operation, content)
      case 'read':
        return this.#send('GET', operation.key)
      case 'delete':
        return this.#send('DELETE', operation.key)
      case 'move':
        return this.#send('POST', 'move', route(operation))
      case 'copy':
        return this.#send('POST', 'copy', route(operation), { 'x-upsert': String(operation.upsert) })
    }
  }

  async #insertInPieces(key: string, content: Buffer): Promise<Answer> {
    const [bucketName = '', objectName = ''] = key.split('/')
    const tus = { 'tus-resumable': '1.0.0' }
    const creation = {
      'upload-length': String(content.length),
      'upload-metadata': metadataOf({ bucketName, objectName }),
    }
    const path = '/upload/resumable'
    const created = await this.#machine.request('POST', path, { headers: { ...tus, ...creation } })
    if (created.status !== 201) return { status: created.status }
    const id = created.headers.get('location')?.split('/').at(-1)
    const end = this.#random.below(content.length)
    let status = 0
    for (const [from, to] of [
      [0, end],
      [end, content.length],
    ] as const) {
      const piece = { 'content-type': 'application/offset+octet-stream', 'upload-offset': String(from) }
      const body = new Uint8Array(content.subarray(from, to))
      const answer = await this.#machine.request('PATCH', `${path}/${id}`, {
        headers: { ...tus, ...piece },
        body,
      })
      status = answer.status
      if (status !== 204) return { status }
    }
    return { status: 201 } // what it is worth, in the words of other uploads
  }

  async #sendInParts({ kind, key }: Operation & { kind: 'put' | 'abort' }, content: Buffer): Promise<Answer> {
    const sent = await sendInParts(this.#machine.s3, key, content)
    if ('status' in sent) return sent
    if (kind === 'abort') return sent.abort()
    this.#sent = { ...sent, operation: { kind, key, sha256: hash(content) } }
    const answer = await sent.complete()
    this.#sent = undefined
    return answer
  }

  async #send(
    method: string,
    path: string,
    body?: string | Buffer | Readable,
    headers = {},
  ): Promise<Answer> {
    const response = await this.#machine.request(method, `/object/${path}`, {
      headers: { ...(typeof body === 'string' && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: body as NonNullable<RequestInit['body']> }),
    })
    const bytes = Buffer.from(await response.arrayBuffer())
    const { status } = response
    return method === 'GET' && status === 200 ? { status, sha256: hash(bytes) } : { status }
  }
}

function route({ from, to }: { from: string; to: string }): string {
  const [bucketId, sourceKey] = from.split('/')
  const [destinationBucket, destinationKey] = to.split('/')
  return JSON.stringify({ bucketId, sourceKey, destinationBucket, destinationKey })
}

export function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
