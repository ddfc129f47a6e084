import { createCipheriv, createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Command, newFolder, removeFolder } from '../support/command.ts'
import { type Radosgw, startRadosgw } from '../support/radosgw.ts'
import { describeWithS3, s3Env } from '../support/s3.ts'
import { isFull } from './size.ts'

const MiB = 1024 ** 2
const LARGE = isFull ? 5 * 1024 * MiB + 1 : 224 * MiB + 1
/** By which a server comes to have the memory that it needs anyway. In full size it is copied in parts. */
const USUAL = isFull ? 1100 * MiB : 64 * MiB
/** In bytes. */
const MAX_GROWTH = 96 * MiB

describeWithS3(`an object of ${LARGE} bytes in a store`, (s3) => {
  /** Of its own, with room for the full size. */
  let store: Radosgw | undefined
  let folder: string
  let server: Command
  let url: string
  let token: string

  beforeAll(async () => {
    if (isFull) store = await startRadosgw({ memoryBytes: 2 * (LARGE + 2 * USUAL) })
    folder = await newFolder()
    const env = { ...(await s3Env(store ?? s3)), STORAGE_PORT: '0', STORAGE_MAX_FILE_SIZE: '6GB' }
    server = new Command(['serve'], { cwd: folder, env })
    url = `${await server.url()}/storage/v1`
    token = JSON.parse(readFileSync(`${folder}/storage-data/keys.json`, 'utf8')).serviceKey
    await ask('POST', '/bucket', JSON.stringify({ name: 'large', file_size_limit: '6GB' }))
  }, 120_000)
  afterAll(async () => {
    // Its memory is for other tests.
    if (url) expect((await ask('POST', '/bucket/large/empty')).status).toBe(200)
    if (folder) await removeFolder(folder, server ? [server] : [])
    await store?.stop()
  })

  it('is uploaded without its length being known, and read in memory that does not depend on its size', {
    timeout: isFull ? 1_800_000 : 120_000,
  }, async () => {
    expect(await put('/object/large/usual', USUAL)).toBe(201)
    const copy = { bucketId: 'large', sourceKey: 'usual', destinationKey: 'copy' }
    expect((await ask('POST', '/object/copy', JSON.stringify(copy))).status).toBe(200)
    expect(await isStored('/object/large/copy', USUAL)).toBe(true)
    const before = peak()
    expect(await put('/object/large/large', LARGE)).toBe(201)
    expect(await isStored('/object/large/large', LARGE)).toBe(true)
    console.log(`${LARGE} bytes in a store: ${peak() / MiB} MiB of memory at most, ${before / MiB} before`)
    expect(peak() - before, `from ${before}`).toBeLessThan(MAX_GROWTH)
  })

  /** Whether an object is what was uploaded, read whole and from its last piece. */
  async function isStored(path: string, size: number): Promise<boolean> {
    const hash = createHash('sha256')
    let last: Uint8Array = new Uint8Array()
    for (const chunk of content(size)) {
      hash.update(chunk)
      last = chunk
    }
    const end = await ask('GET', path, undefined, { range: `bytes=-${last.length}` })
    const isEndRight = Buffer.from(await end.arrayBuffer()).equals(last)
    return isEndRight && (await sha256(path)) === hash.digest('hex')
  }

  /** The most memory that the server ever had, in bytes. */
  function peak(): number {
    const status = readFileSync(`/proc/${server.child.pid}/status`, 'utf8')
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024
  }

  function ask(method: string, path: string, body?: string, headers: Record<string, string> = {}) {
    const type: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' }
    const init = { method, headers: { authorization: `Bearer ${token}`, ...type, ...headers } }
    return fetch(`${url}${path}`, body === undefined ? init : { ...init, body })
  }

  /** Uploads in chunks. Returns the status. */
  async function put(path: string, size: number): Promise<number | undefined> {
    const sent = request(`${url}${path}`, { method: 'POST', headers: { authorization: `Bearer ${token}` } })
    const answered = new Promise<number | undefined>((resolve, reject) => {
      sent.once('error', reject).once('response', (response) => {
        response.resume().once('end', () => resolve(response.statusCode))
      })
    })
    await pipeline(Readable.from(content(size)), sent)
    return answered
  }

  async function sha256(path: string): Promise<string> {
    const response = await ask('GET', path)
    const hash = createHash('sha256')
    for await (const chunk of response.body ?? []) hash.update(chunk)
    return hash.digest('hex')
  }
})

/** Bytes of which no part is like another, the same each time. */
function* content(size: number): Generator<Uint8Array> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16))
  const zeros = Buffer.alloc(MiB)
  for (let left = size; left > 0; left -= MiB)
    yield cipher.update(left < MiB ? zeros.subarray(0, left) : zeros)
}
