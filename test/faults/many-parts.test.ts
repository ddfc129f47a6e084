import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { open, readdir, truncate } from 'node:fs/promises'
import { get } from 'node:http'
import { join } from 'node:path'
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectAttributesCommand,
  HeadObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { strongroom } from '../support/command.ts'
import { PAIR, s3ClientAt, WITH_PAIR } from '../support/s3-protocol.ts'
import { presign, signRequest, UNSIGNED } from '../support/s3-signer.ts'
import { until } from '../support/wait.ts'
import { ServerProcesses } from './server-processes.ts'
import { isFull } from './size.ts'

const MiB = 1024 * 1024
const COUNT = isFull ? 10_000 : 20
const PART = 5 * MiB
/** So many are read at once, from the middle on. */
const READ = Math.min(COUNT / 2, 400)

/** At the end of each part; all before are zeros, for which the disk needs no room. In bytes. */
const MARK = 64

/** Beside what it had before. In bytes. */
const MOST_MEMORY = 160 * MiB
const MOST_OPEN_FILES = 8

const Bucket = 'box'

function markOf(number: number): Buffer {
  return Buffer.alloc(MARK, `part ${number} `)
}

/** Of a part that is zeros but for its mark. */
const zeros = createHash('sha256').update(Buffer.alloc(PART - MARK))
function sha256Of(number: number): string {
  return zeros.copy().update(markOf(number)).digest('hex')
}

describe(`an object of ${COUNT} parts of 5 MiB`, () => {
  let servers: ServerProcesses
  let s3: S3Client
  let endpoint: string
  let memoryBefore = 0

  beforeAll(async () => {
    servers = await ServerProcesses.open({
      ...WITH_PAIR,
      STORAGE_S3_PROTOCOL_PORT: '0',
      STORAGE_MAX_FILE_SIZE: '60GB',
      STORAGE_FSYNC: 'false', // in memory
    })
    await servers.start()
    await servers.request('POST', '/storage/v1/bucket', { body: { name: Bucket } })
    endpoint = `${servers.url}/storage/v1/s3`
    s3 = s3ClientAt(endpoint, { maxAttempts: 3 })
  }, 120_000)
  afterAll(async () => {
    s3?.destroy()
    await servers?.remove()
  })

  const pid = () => servers.last.child.pid
  /** The most that the server ever had, in bytes. */
  const memory = () => {
    const status = readFileSync(`/proc/${pid()}/status`, 'utf8')
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024
  }
  const openFiles = () => readdirSync(`/proc/${pid()}/fd`).length

  it('is made of parts that came in any order', { timeout: COUNT * 100 + 60_000 }, async () => {
    const at = { Bucket, Key: 'large' }
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand(at))
    const parts: { PartNumber: number; ETag: string | undefined }[] = []
    const wanted = Array.from({ length: COUNT }, (_, index) => COUNT - index)
    const send = async () => {
      for (let number = wanted.pop(); number !== undefined; number = wanted.pop()) {
        // Not by the SDK, of whose time the test would be made.
        const url = `${endpoint}/${Bucket}/large?partNumber=${number}&uploadId=${UploadId}`
        const headers = signRequest({ method: 'PUT', url, payload: UNSIGNED }, PAIR)
        const answer = await fetch(url, { method: 'PUT', headers, body: new Uint8Array(markOf(number)) })
        expect(answer.status).toBe(200)
        parts[number - 1] = { PartNumber: number, ETag: answer.headers.get('etag') ?? undefined }
      }
    }
    await Promise.all(Array.from({ length: 16 }, send))
    await growParts()

    memoryBefore = memory()
    const made = await told('Complete', () =>
      s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts: parts } })),
    )
    expect(made.ETag).toMatch(new RegExp(`-${COUNT}"$`))
    expect(memory() - memoryBefore).toBeLessThan(MOST_MEMORY)
  })

  /** Lets each part be as long as if its client had sent all these zeros, on the disk and in its row. */
  async function growParts(): Promise<void> {
    const folder = join(servers.folder, 'storage-data/objects/parts')
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue
      const path = join(entry.parentPath, entry.name)
      await truncate(path, 0)
      const file = await open(path, 'r+')
      await file.write(markOf(Number(entry.name.split('-')[0])), 0, MARK, PART - MARK)
      await file.close()
    }
    const sha256s = Array.from({ length: COUNT }, (_, index) => sha256Of(index + 1))
    await servers.database.admin`
      update storage.s3_multipart_uploads_parts p set size = ${PART}, sha256 = (${sha256s}::text[])[p.part_number]`
  }

  it('is described by each of its parts', async () => {
    const at = { Bucket, Key: 'large' }
    for (const PartNumber of [1, COUNT / 2, COUNT]) {
      const part = await told(`HEAD of part ${PartNumber}`, () =>
        s3.send(new HeadObjectCommand({ ...at, PartNumber })),
      )
      expect([part.PartsCount, part.ContentLength]).toEqual([COUNT, PART])
    }
    const asked = { ...at, ObjectAttributes: ['ObjectParts' as const], PartNumberMarker: String(COUNT - 10) }
    const { ObjectParts } = await s3.send(new GetObjectAttributesCommand(asked))
    expect([ObjectParts?.TotalPartsCount, ObjectParts?.Parts?.length]).toEqual([COUNT, 10])
  })

  it('is read across its parts, of which few are open at once', { timeout: 300_000 }, async () => {
    const openBefore = openFiles()
    const [from, to] = [COUNT / 2, COUNT / 2 + READ]
    const many = await told(`GET of ${READ} parts`, () =>
      read('large', `bytes=${from * PART}-${to * PART - 1}`),
    )
    expect(many.sha256).toBe(sha256OfParts(from + 1, to))
    expect(many.mostOpen - openBefore).toBeLessThan(MOST_OPEN_FILES)
    for (const number of [1, COUNT / 2, COUNT - 1]) {
      const end = number * PART
      const range = `bytes=${end - MARK}-${end + MARK - 1}`
      const { sha256 } = await told(`range behind part ${number}`, () => read('large', range))
      expect(sha256).toBe(
        createHash('sha256')
          .update(Buffer.concat([markOf(number), Buffer.alloc(MARK)]))
          .digest('hex'),
      )
    }
    expect(memory() - memoryBefore).toBeLessThan(MOST_MEMORY)
  })

  it('is copied, and the copy found whole by scrub and check', { timeout: 1_200_000 }, async () => {
    const copy = { Bucket, Key: 'copy', CopySource: `${Bucket}/large` }
    await told('copy', () => s3.send(new CopyObjectCommand(copy)))
    await told('delete', () => s3.send(new DeleteObjectCommand({ Bucket, Key: 'large' })))
    const scrubbed = await told('scrub', () => command(['scrub', '--rate', '100GB']))
    expect(scrubbed).toMatchObject({ code: 0 })
    const [row] = await servers.database.admin`select checksum from storage.objects where name = 'copy'`
    expect(row?.checksum).toBe(sha256OfParts(1, COUNT))
    expect(await command(['check'])).toMatchObject({ code: 0 })
  })

  it('is deleted with all that it was made of', async () => {
    await told('delete', () => s3.send(new DeleteObjectCommand({ Bucket, Key: 'copy' })))
    const files = async () => {
      const folder = join(servers.folder, 'storage-data/objects')
      const entries = await readdir(folder, { recursive: true, withFileTypes: true })
      return entries.filter((entry) => entry.isFile()).length
    }
    await until(async () => (await files()) === 0, 'no file is left')
    expect(memory() - memoryBefore).toBeLessThan(MOST_MEMORY)
    console.log(
      `${COUNT} parts: ${(memory() / MiB).toFixed(0)} MiB at most, ${(memoryBefore / MiB).toFixed(0)} before`,
    )
  })

  /** Says how long something takes. */
  async function told<T>(what: string, work: () => Promise<T>): Promise<T> {
    const begun = performance.now()
    const result = await work()
    if (isFull) console.log(`${what}: ${(performance.now() - begun).toFixed(0)} ms`)
    return result
  }

  function command(args: string[]) {
    return strongroom(args, { cwd: servers.folder, env: servers.env })
  }

  /** Reads by a plain request: what is measured is the server. */
  function read(key: string, range: string): Promise<{ sha256: string; mostOpen: number }> {
    const url = presign({ method: 'GET', url: `${endpoint}/${Bucket}/${key}` }, PAIR, 3600)
    return new Promise((resolve, reject) => {
      const hash = createHash('sha256')
      let [size, mostOpen] = [0, 0]
      get(url, { headers: { range } }, (response) => {
        response.on('error', reject)
        response.on('data', (chunk: Buffer) => {
          hash.update(chunk)
          if (Math.floor((size + chunk.length) / PART) > Math.floor(size / PART)) {
            mostOpen = Math.max(mostOpen, openFiles())
          }
          size += chunk.length
        })
        response.on('end', () => resolve({ sha256: hash.digest('hex'), mostOpen }))
      }).on('error', reject)
    })
  }
})

function sha256OfParts(first: number, last: number): string {
  const hash = createHash('sha256')
  const hole = Buffer.alloc(PART - MARK)
  for (let number = first; number <= last; number++) hash.update(hole).update(markOf(number))
  return hash.digest('hex')
}
