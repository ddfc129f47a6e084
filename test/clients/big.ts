/**
 * A file of 1 GiB and ten thousand small ones, through supabase-js: uploaded, listed, signed, moved, copied,
 * downloaded and deleted, every byte compared. Prints each phase's throughput and the server's peak memory;
 * exit code 1 on any mismatch. Takes some minutes.
 *
 *   npx tsx test/clients/big.ts                        builds and starts a server of its own
 *   npx tsx test/clients/big.ts --url URL --key KEY    uses a running one; KEY is its service key
 *
 * `--mebibytes 64 --files 500` make a smaller trial; `--pid PID` names the server of --url to watch its memory.
 */
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, openAsBlob } from 'node:fs'
import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ReadableStream } from 'node:stream/web'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { StorageClient } from '@supabase/storage-js'
import { createClient, type WebSocketLikeConstructor } from '@supabase/supabase-js'
import WebSocket from 'ws'
import { freePort, startProgram, stopAll, untilAnswers } from '../bench/processes.ts'

const MEBIBYTE = 1024 * 1024

/** Requests at once, of the small files. */
const CONCURRENCY = 16

/** Names per list, signature or deletion of many: the most that every server takes. */
const BATCH = 1000

type Files = ReturnType<StorageClient['from']>

interface Target {
  url: string
  key: string
  /** Null when it runs where we cannot look. */
  pid: number | null
  /** Where its files are, if it is ours. */
  objects: string | null
}

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    key: { type: 'string' },
    pid: { type: 'string' },
    mebibytes: { type: 'string', default: '1024' },
    files: { type: 'string', default: '10000' },
  },
})

const folder = await mkdtemp(join(tmpdir(), 'strongroom-big-'))
try {
  const target = options.url === undefined ? await ownServer() : givenServer(options.url)
  const storage = createClient(target.url, target.key, {
    auth: { persistSession: false, autoRefreshToken: false },
    // Node 20 has no WebSocket of its own; nobody calls it here.
    realtime: { transport: WebSocket as unknown as WebSocketLikeConstructor },
  }).storage
  const bucket = `big-${process.pid}-${Date.now()}`
  ok(await storage.createBucket(bucket))
  console.log(`${target.url}, bucket ${bucket}`)
  const phase = phases(target.pid)
  await largeFile(storage.from(bucket), phase, Number(options.mebibytes))
  await smallFiles(storage.from(bucket), phase, Number(options.files))
  ok(await storage.deleteBucket(bucket)) // which it refuses unless every object is gone
  if (target.objects !== null) {
    const left = await readdir(target.objects, { recursive: true, withFileTypes: true })
    same(left.filter((entry) => entry.isFile()).length, 0, 'files left on the disk')
  }
  console.log('Everything came back as it was sent, and nothing is left.')
} catch (error) {
  console.error(error)
  process.exitCode = 1
} finally {
  await stopAll()
  await rm(folder, { recursive: true, force: true })
}

async function largeFile(files: Files, phase: Phase, mebibytes: number): Promise<void> {
  const path = join(folder, 'large.bin')
  const checksum = await writeRandom(path, mebibytes)
  const bytes = mebibytes * MEBIBYTE

  await phase('large: upload as a stream', { bytes }, async () => {
    ok(await files.upload('in/stream.bin', createReadStream(path, { highWaterMark: MEBIBYTE })))
  })
  await phase('large: upload as a form', { bytes }, async () => {
    ok(await files.upload('in/form.bin', await openAsBlob(path)))
  })
  await phase('large: list, info', { count: 3 }, async () => {
    const listed = ok(await files.list('in'))
    same(
      listed.map((entry) => [entry.name, entry.metadata?.size]),
      [
        ['form.bin', bytes],
        ['stream.bin', bytes],
      ],
      'the list',
    )
    for (const name of ['in/stream.bin', 'in/form.bin']) {
      const info = ok(await files.info(name)) as { size?: number; checksum?: string }
      same([info.size, info.checksum ?? checksum], [bytes, checksum], `the info of ${name}`)
    }
  })
  for (const name of ['in/stream.bin', 'in/form.bin']) {
    await phase(`large: download ${name}`, { bytes }, async () => {
      const stream = ok(await files.download(name).asStream()) as ReadableStream<Uint8Array>
      same(await hashOf(stream), checksum, name)
    })
  }
  await phase('large: sign, download by the link', { bytes }, async () => {
    const { signedUrl } = ok(await files.createSignedUrl('in/stream.bin', 3600))
    same(
      await hashOf((await fetch(signedUrl)).body as ReadableStream<Uint8Array>),
      checksum,
      'the signed link',
    )
  })
  await phase('large: move', { count: 1 }, async () => {
    ok(await files.move('in/stream.bin', 'moved.bin'))
    same((await files.exists('in/stream.bin')).data, false, 'the source of the move is there')
  })
  await phase('large: copy', { count: 1 }, async () => {
    ok(await files.copy('moved.bin', 'copied.bin'))
  })
  await phase('large: download the copy', { bytes }, async () => {
    const stream = ok(await files.download('copied.bin').asStream()) as ReadableStream<Uint8Array>
    same(await hashOf(stream), checksum, 'the copy')
  })
  await phase('large: delete', { count: 3 }, async () => {
    same(ok(await files.remove(['moved.bin', 'copied.bin', 'in/form.bin'])).length, 3, 'the deleted objects')
    same(ok(await files.list()), [], 'what is left')
  })
  await rm(path)
}

async function smallFiles(files: Files, phase: Phase, count: number): Promise<void> {
  const seed = randomBytes(16 * 1024)
  const names = Array.from({ length: count }, (_, index) => `file-${String(index).padStart(6, '0')}.bin`)
  /** From 0 to 8 KiB, each another piece, and its own name in front. */
  const contentOf = (name: string) => {
    const n = Number(/\d+/.exec(name)?.[0])
    return Buffer.concat([Buffer.from(name), seed.subarray(n % 8192, (n % 8192) + ((n * 37) % 8192))])
  }
  const total = { count, bytes: names.reduce((sum, name) => sum + contentOf(name).length, 0) }

  await phase('small: upload', total, () =>
    eachOf(names, async (name) => {
      const content = contentOf(name)
      ok(await files.upload(`new/${name}`, name.endsWith('7.bin') ? new Blob([content]) : content))
    }),
  )
  await phase('small: list', { count }, async () => {
    same(await listed(files, 'new'), names, 'the list')
  })
  await phase('small: list v2', { count }, async () => {
    const found: string[] = []
    for (let cursor: string | undefined, more = true; more; ) {
      const page = ok(
        await files.listV2({ prefix: 'new/', limit: BATCH, ...(cursor !== undefined && { cursor }) }),
      )
      found.push(...page.objects.map((object) => object.name.slice('new/'.length)))
      cursor = page.nextCursor
      more = page.hasNext
    }
    same(found, names, 'the list v2')
  })
  const links: string[] = []
  await phase('small: sign', { count }, async () => {
    for (const batch of inBatches(names.map((name) => `new/${name}`))) {
      for (const { signedUrl } of ok(await files.createSignedUrls(batch, 3600))) links.push(signedUrl ?? '')
    }
  })
  await phase('small: download by the links', total, () =>
    eachOf(names, async (name, index) => {
      const body = await (await fetch(links[index] ?? '')).arrayBuffer()
      same(contentOf(name).equals(Buffer.from(body)), true, `the signed link of ${name}`)
    }),
  )
  await phase('small: move', { count }, () =>
    eachOf(names, async (name) => void ok(await files.move(`new/${name}`, `moved/${name}`))),
  )
  await phase('small: copy', total, () =>
    eachOf(names, async (name) => void ok(await files.copy(`moved/${name}`, `copied/${name}`))),
  )
  await phase('small: download the copies', total, () =>
    eachOf(names, async (name) => {
      const body = await ok(await files.download(`copied/${name}`)).arrayBuffer()
      same(contentOf(name).equals(Buffer.from(body)), true, `the copy of ${name}`)
    }),
  )
  await phase('small: delete', { count: 2 * count }, async () => {
    same([await listed(files, 'new'), await listed(files, 'moved')], [[], names], 'what is where')
    for (const batch of inBatches(names.flatMap((name) => [`moved/${name}`, `copied/${name}`])))
      same(ok(await files.remove(batch)).length, batch.length, 'the deleted objects')
    same(ok(await files.list()), [], 'what is left')
  })
}

async function listed(files: Files, path: string): Promise<string[]> {
  const found: string[] = []
  for (;;) {
    const page = ok(await files.list(path, { limit: BATCH, offset: found.length }))
    found.push(...page.map((entry) => entry.name))
    if (page.length < BATCH) return found
  }
}

type Phase = (
  name: string,
  amount: { bytes?: number; count?: number },
  work: () => Promise<void>,
) => Promise<void>

/** Runs phases and prints a line for each. */
function phases(pid: number | null): Phase {
  const line = (...cells: string[]) =>
    console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(36) : cell.padStart(13))).join(''))
  line('phase', 'seconds', 'throughput', '', 'peak RSS')
  return async (name, { bytes, count }, work) => {
    // 5 resets the peak (proc(5), clear_refs).
    if (pid !== null) await writeFile(`/proc/${pid}/clear_refs`, '5')
    const startedAt = performance.now()
    await work()
    const seconds = (performance.now() - startedAt) / 1000
    line(
      name,
      seconds.toFixed(2),
      count === undefined ? '' : `${Math.round(count / seconds)}/s`,
      bytes === undefined ? '' : `${(bytes / MEBIBYTE / seconds).toFixed(1)} MiB/s`,
      pid === null ? 'unknown' : `${Math.round((await peakKib(pid)) / 1024)} MiB`,
    )
  }
}

async function peakKib(pid: number): Promise<number> {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1])
}

async function ownServer(): Promise<Target> {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  execFileSync('npm', ['run', '-s', 'build'], { cwd: root, stdio: 'inherit' })
  const dataDir = join(folder, 'data')
  const log = join(folder, 'server.log')
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const { pid } = await startProgram([process.execPath, join(root, 'dist/main.js'), 'serve'], {
    cwd: folder, // where no .env of ours is
    env: { STORAGE_PORT: String(port), STORAGE_DATA_DIR: dataDir, STORAGE_LOG_LEVEL: 'warn' },
    log,
  })
  await untilAnswers(`${url}/health/ready`, log)
  const { serviceKey } = JSON.parse(await readFile(join(dataDir, 'keys.json'), 'utf8')) as {
    serviceKey: string
  }
  return { url, key: serviceKey, pid, objects: join(dataDir, 'objects') }
}

function givenServer(url: string): Target {
  if (options.key === undefined) throw new Error('--url needs --key, the service key of that server')
  return { url, key: options.key, pid: options.pid === undefined ? null : Number(options.pid), objects: null }
}

/** Writes random bytes to a file, and returns their SHA-256. */
async function writeRandom(path: string, mebibytes: number): Promise<string> {
  const hash = createHash('sha256')
  const file = await open(path, 'wx')
  for (let n = 0; n < mebibytes; n++) {
    const piece = randomBytes(MEBIBYTE)
    hash.update(piece)
    await file.writeFile(piece)
  }
  await file.close()
  return hash.digest('hex')
}

async function hashOf(stream: ReadableStream<Uint8Array>): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of stream) hash.update(piece)
  return hash.digest('hex')
}

async function eachOf<T>(items: T[], work: (item: T, index: number) => Promise<void>): Promise<void> {
  const entries = items.entries()
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      for (const [index, item] of entries) await work(item, index)
    }),
  )
}

function inBatches<T>(items: T[]): T[][] {
  return Array.from({ length: Math.ceil(items.length / BATCH) }, (_, n) =>
    items.slice(n * BATCH, (n + 1) * BATCH),
  )
}

function ok<T>({ data, error }: { data: T | null; error: Error | null }): T {
  if (error || data === null) throw error ?? new Error('an answer without data')
  return data
}

function same(found: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)]
  if (a !== b) throw new Error(`Mismatch: ${what} is ${a?.slice(0, 300)}, not ${b?.slice(0, 300)}`)
}
