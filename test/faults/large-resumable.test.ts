import { createCipheriv, createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Agent, type IncomingMessage, request } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Command, newFolder, removeFolder } from '../support/command.ts'
import { metadataOf } from '../support/tus-requests.ts'
import { isFull } from './size.ts'

const MiB = 1024 ** 2
const LARGE = isFull ? 2048 * MiB : 160 * MiB
/** By which a server comes to have the memory that it needs anyway. */
const USUAL = 48 * MiB
/** What Supabase's documentation asks clients for (wire §5.6). */
const CHUNK = 6 * MiB
/** In bytes. */
const MAX_GROWTH = 64 * MiB

describe.skipIf(process.platform !== 'linux')(
  `a resumable upload of ${LARGE} bytes (only Linux tells the memory's peak)`,
  () => {
    let folder: string
    let server: Command
    let url: string
    let token: string
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })

    beforeAll(async () => {
      folder = await newFolder()
      const env = { STORAGE_PORT: '0', STORAGE_MAX_FILE_SIZE: '6GB' }
      server = new Command(['serve'], { cwd: folder, env })
      url = `${await server.url()}/storage/v1`
      token = JSON.parse(readFileSync(`${folder}/storage-data/keys.json`, 'utf8')).serviceKey
      const bucket = Readable.from([JSON.stringify({ name: 'large', file_size_limit: '6GB' })])
      await send('POST', `${url}/bucket`, { 'content-type': 'application/json' }, bucket)
      await upload('usual', USUAL, CHUNK)
      await upload('usual-whole', USUAL, USUAL)
    }, 120_000)
    afterAll(async () => {
      agent.destroy()
      if (folder) await removeFolder(folder, server ? [server] : [])
    })

    it.each([
      ['chunks of 6 MiB', CHUNK],
      ['one chunk', LARGE],
    ])(
      'in %s takes no more memory than one of usual size',
      { timeout: isFull ? 600_000 : 120_000 },
      async (how, chunkBytes) => {
        const before = peak()
        const sha256 = await upload(how, LARGE, chunkBytes)
        const after = peak()

        const info = await send('GET', `${url}/object/info/large/${encodeURIComponent(how)}`)
        expect(JSON.parse(info.body)).toMatchObject({ size: LARGE, checksum: sha256 })
        console.log(`${LARGE} bytes in ${how}: ${after / MiB} MiB of memory at most, ${before / MiB} before`)
        expect(after - before, `from ${before}`).toBeLessThan(MAX_GROWTH)
      },
    )

    /** Uploads one chunk after the other. Returns the SHA-256 of what was sent. */
    async function upload(name: string, size: number, chunkBytes: number): Promise<string> {
      const { headers } = await send('POST', `${url}/upload/resumable`, {
        'upload-length': size,
        'upload-metadata': metadataOf({ bucketName: 'large', objectName: name }),
      })
      const hash = createHash('sha256')
      const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16))
      for (let offset = 0; offset < size; offset += chunkBytes) {
        const length = Math.min(chunkBytes, size - offset)
        const chunk = Readable.from(bytes(length))
        await send('PATCH', headers.location ?? '', { ...CHUNK_HEADERS, 'upload-offset': offset }, chunk)
      }
      return hash.digest('hex')

      /** The next ones: no part is like another, the same each time. */
      function* bytes(length: number): Generator<Uint8Array> {
        for (let left = length; left > 0; left -= MiB) {
          const chunk = cipher.update(left < MiB ? ZEROS.subarray(0, left) : ZEROS)
          hash.update(chunk)
          yield chunk
        }
      }
    }

    /** A request on the one connection. @throws Error unless it is a success */
    async function send(
      method: string,
      target: string,
      headers: Record<string, string | number> = {},
      body: Readable = Readable.from([]),
    ): Promise<{ headers: IncomingMessage['headers']; body: string }> {
      const own = { authorization: `Bearer ${token}`, 'tus-resumable': '1.0.0' }
      const sent = request(target, { method, agent, headers: { ...own, ...headers } })
      const answered = once(sent, 'response') as Promise<[IncomingMessage]>
      const [[response]] = await Promise.all([answered, pipeline(body, sent)])
      const text = (await response.toArray()).join('')
      if (response.statusCode === undefined || response.statusCode >= 300) {
        throw new Error(`${method} ${target}: ${response.statusCode} ${text}`)
      }
      return { headers: response.headers, body: text }
    }

    /** The most memory that the server ever had, in bytes. */
    function peak(): number {
      const status = readFileSync(`/proc/${server.child.pid}/status`, 'utf8')
      return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024
    }
  },
)

const CHUNK_HEADERS = { 'content-type': 'application/offset+octet-stream' }
const ZEROS = Buffer.alloc(MiB)
