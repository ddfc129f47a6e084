import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { mintToken } from '../../../src/server/keys.ts'
import { Command, isAlive, newFolder, removeFolder, strongroom } from '../../support/command.ts'
import { createTestDatabase } from '../../support/database.ts'
import { openEvents } from '../../support/event-stream.ts'
import { freePort } from '../../support/free-port.ts'
import { chunk, exchange, RawConnection, rawRequest } from '../../support/raw-http.ts'
import { seededBytes, sha256 } from '../../support/seeded-bytes.ts'
import { metadataOf } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'
import { WorkerLine } from '../../support/worker-line.ts'

/** One data folder, on which server after server is started. */
let cwd: string
const started: Command[] = []

beforeAll(async () => {
  cwd = await newFolder()
})
afterAll(async () => {
  await removeFolder(cwd, started)
  for (const pid of started.flatMap(workersOf)) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
})

function start(env: Record<string, string> = {}): Command {
  const settings = { STORAGE_PORT: '0', STORAGE_WORKERS: '2', STORAGE_CLEANUP_INTERVAL: '200ms', ...env }
  const server = new Command(['serve'], { cwd, env: settings })
  started.push(server)
  return server
}

/** Where it listens, once that and its workers are known. */
async function urlOf(server: Command): Promise<string> {
  const url = await server.url()
  await until(() => workersOf(server).length >= 2, 'both workers are in the log')
  return url
}

/** The workers that have ever listened, the oldest first. */
function workersOf(server: Command): number[] {
  return server.logs.filter(({ msg }) => msg === 'a worker listens').map(({ worker }) => Number(worker))
}

/** The headers of an upload that tells when it is being read. */
const UNDER_WAY = ['Transfer-Encoding: chunked', 'Expect: 100-continue']

/** What both workers store right before their end. */
const TOLD = Array.from({ length: 20 }, (_, n) => `told-${n}.txt`)

const aliveOf = (server: Command) => workersOf(server).filter(isAlive)

async function serviceKey(): Promise<string> {
  return JSON.parse(await readFile(join(cwd, 'storage-data', 'keys.json'), 'utf8')).serviceKey
}

async function send(url: string, method: string, path: string, body?: string): Promise<Response> {
  const headers = { authorization: `Bearer ${await serviceKey()}` }
  return fetch(`${url}/storage/v1${path}`, { method, headers, ...(body !== undefined && { body }) })
}

describe('a server with STORAGE_WORKERS=2', () => {
  let server: Command
  let url: string
  const lines: WorkerLine[] = []
  const line = (index: number) => lines[index] as WorkerLine
  beforeAll(async () => {
    server = start()
    url = await urlOf(server)
    for (const worker of workersOf(server))
      lines.push(await WorkerLine.open(server, worker, await serviceKey()))
    await send(url, 'POST', '/bucket', '{"name":"box"}')
  })
  afterAll(async () => {
    for (const each of lines) each.close()
    server.signal('SIGTERM') // it has ended, unless a test has failed
    await server.ended
  })

  it('says once where it listens, and answers in two processes that end with it', async () => {
    expect(server.stdout.match(/Strongroom is listening/g)).toHaveLength(1)
    expect(aliveOf(server)).toHaveLength(2)
    expect(aliveOf(server)).not.toContain(server.child.pid)
    expect(server.stderr).toBe('')
  })

  it('has the port for S3 clients in both, as long as one of them lives', async () => {
    const s3 = String(server.logs.find(({ msg }) => String(msg).startsWith('Strongroom is listening'))?.s3)
    expect(new URL(s3).port).not.toBe(new URL(url).port)
    const answeredBy = () =>
      new Set(server.logs.filter(({ requestId }) => requestId === 'who').map(({ pid }) => pid))
    await until(async () => {
      const { status } = await exchange(s3, rawRequest('GET', '/', ['X-Request-Id: who']))
      return status === 403 && answeredBy().size === 2
    }, 'both have answered there')
    expect([...answeredBy()].sort()).toEqual(aliveOf(server).sort())
  })

  it('shows in one worker at once what another one has stored', async () => {
    expect((await line(0).request('PUT', '/object/box/seen.txt', [], 'by one')).status).toBe(201)
    const seen = await line(1).request('GET', '/object/box/seen.txt')
    expect([seen.status, seen.body.toString()]).toEqual([200, 'by one'])
  })

  it('answers from the memory of no worker what another one has changed', async () => {
    await send(url, 'POST', '/bucket', '{"name":"open","public":true}')
    const path = '/object/public/open/often.txt'
    const late: string[] = []
    for (let round = 0; round < 40; round++) {
      await line(round % 2).request('PUT', '/object/open/often.txt', [], `body ${round}`)
      for (let read = 0; read < 6; read++) {
        const found = await line((round + read + 1) % 2).request('GET', path)
        if (found.body.toString() !== `body ${round}`) late.push(`${found.body} in round ${round}`)
      }
    }
    expect(late).toEqual([])
    await line(0).request('PUT', '/bucket/open', ['Content-Type: application/json'], '{"public":false}')
    expect((await line(1).request('GET', path)).status).toBe(404)
  })

  it('counts in all workers together how often a signed URL is used, and serves in none what was revoked', async () => {
    await send(url, 'PUT', '/object/box/linked.txt', 'linked')
    const signed = async (options: object) => {
      const body = JSON.stringify({ expiresIn: 60, ...options })
      const answer = await line(0).request(
        'POST',
        '/object/sign/box/linked.txt',
        ['Content-Type: application/json'],
        body,
      )
      return String(answer.json().signedURL)
    }
    const few = await signed({ max_downloads: 3 })
    const asked = await Promise.all(
      [0, 1].map(async (index) => {
        const statuses: number[] = []
        for (let times = 0; times < 4; times++) statuses.push((await line(index).request('GET', few)).status)
        return statuses
      }),
    )
    expect(asked.flat().filter((status) => status === 200)).toHaveLength(3)

    const plain = await signed({})
    for (const index of [0, 1]) expect((await line(index).request('GET', plain)).status).toBe(200)
    const body = JSON.stringify({ bucket: 'box', path: 'linked.txt' })
    const json = ['Content-Type: application/json']
    expect((await line(0).request('POST', '/object/sign/revoke', json, body)).status).toBe(200)
    expect((await line(0).request('GET', plain)).status).toBe(410)
    await until(
      async () => (await line(1).request('GET', plain)).status === 410,
      'the other worker has heard',
    )
  })

  it('goes on in one worker with a resumable upload that another one has begun', async () => {
    const bytes = seededBytes('pieces', 900_000)
    const tus = ['Tus-Resumable: 1.0.0']
    const begun = await line(0).request('POST', '/upload/resumable', [
      ...tus,
      `Upload-Length: ${bytes.length}`,
      `Upload-Metadata: ${metadataOf({ bucketName: 'box', objectName: 'pieces.bin' })}`,
    ])
    const path = new URL(String(begun.headers.location)).pathname.replace('/storage/v1', '')
    const statuses: number[] = []
    for (const [index, offset] of [0, 300_000, 600_000].entries()) {
      const headers = [...tus, 'Content-Type: application/offset+octet-stream', `Upload-Offset: ${offset}`]
      const piece = bytes.subarray(offset, offset + 300_000)
      const { status } = await line(index % 2).request('PATCH', path, headers, piece)
      statuses.push(status)
    }
    const stored = await line(1).request('GET', '/object/box/pieces.bin')
    const info = await line(0).request('GET', '/object/info/box/pieces.bin')

    expect(statuses).toEqual([204, 204, 204])
    expect(sha256(stored.body)).toBe(sha256(bytes))
    expect(info.json()).toMatchObject({ size: bytes.length, checksum: sha256(bytes) })
  })

  it('tells a subscriber of any worker what was stored through any other', async () => {
    const subscriber = await openEvents({ url, keys: { serviceKey: await serviceKey() } })
    for (const [index, each] of lines.entries()) {
      await each.request('PUT', `/object/box/heard-${index}.txt`, [], 'news')
    }
    const heard = await subscriber.hears(2)
    subscriber.close()
    await subscriber.ended
    expect(heard).toEqual(['object.created heard-0.txt', 'object.created heard-1.txt'])
  })

  it('does its cleanup in one process, which is none of the workers', async () => {
    const passes = () => server.logs.filter(({ msg }) => msg === 'the cleanup has made a pass')
    await until(() => passes().length >= 3, 'three passes were made')
    expect(new Set(passes().map(({ pid }) => pid))).toEqual(new Set([server.child.pid]))
  })

  it('answers on while a killed worker is replaced, says which one it was, and has two again', async () => {
    const [first = 0, second = 0] = workersOf(server)
    const onItsWay = await connectionFor(first)
    process.kill(first, 'SIGKILL')
    await until(() => !isAlive(first), 'it is gone')
    // What it had not taken yet is cut off, and does not wait for ever.
    expect((await onItsWay.rest()).toString()).toBe('')
    const statuses: number[] = []
    while (workersOf(server).length < 3) {
      statuses.push((await line(1).request('GET', '/object/box/seen.txt')).status)
      statuses.push((await send(url, 'GET', '/object/box/seen.txt')).status)
    }
    expect(new Set(statuses)).toEqual(new Set([200]))
    expect(server.logs).toContainEqual(expect.objectContaining({ worker: first, signal: 'SIGKILL' }))
    const [, , third = 0] = workersOf(server)
    expect(aliveOf(server)).toEqual([second, third])
    const replaced = await WorkerLine.open(server, third, await serviceKey())
    expect((await replaced.request('GET', '/object/box/seen.txt')).status).toBe(200)
    lines.push(replaced)
  })

  /** A connection that is on its way to that worker, which stands still from now on. */
  async function connectionFor(worker: number): Promise<RawConnection> {
    process.kill(worker, 'SIGSTOP')
    const request = rawRequest('GET', '/status', ['Connection: close'])
    const waiting: RawConnection[] = []
    for (let count = 0; count < 3; count++) {
      const connection = await RawConnection.open(url)
      await connection.send(request)
      waiting.push(connection)
    }
    const answered = new Set<RawConnection>()
    for (const each of waiting)
      void each.response().then(
        () => answered.add(each),
        () => {},
      )
    await until(() => answered.size === 2, 'the other worker has answered the others')
    return waiting.find((each) => !answered.has(each)) as RawConnection
  }

  it('finishes in every worker what is running when it gets SIGTERM, and leaves no process', async () => {
    const workers = aliveOf(server)
    const { postgres } = server
    for (const name of TOLD) {
      const { status } = await line(1 + (TOLD.indexOf(name) % 2)).request(
        'PUT',
        `/object/box/${name}`,
        [],
        'x',
      )
      expect(status).toBe(201)
    }
    const uploads = [line(1), line(2)]
    for (const [index, upload] of uploads.entries()) {
      await upload.begin('PUT', `/object/box/late-${index}.txt`, UNDER_WAY)
      expect((await upload.response()).status).toBe(100)
      await upload.goOn(chunk('one '))
    }
    server.signal('SIGTERM')
    for (const worker of workers) process.kill(worker, 'SIGTERM') // as a terminal or systemd tells all of them
    await server.says('stopping')
    await expect
      .poll(() =>
        fetch(`${url}/status`).then(
          () => 'open',
          () => 'closed',
        ),
      )
      .toBe('closed')
    expect(workers.filter(isAlive)).toEqual(workers)
    for (const upload of uploads) await upload.goOn(chunk('two'), chunk(''))

    for (const upload of uploads) expect((await upload.response()).status).toBe(201)
    expect(await server.ended).toMatchObject({ code: 0, signal: null, stderr: '' })
    expect(server.logs.at(-1)).toMatchObject({ msg: 'stopped' })
    expect([...workers, Number(postgres)].filter(isAlive)).toEqual([])
  })

  it('has in its audit log what each worker has done until then, each once', async () => {
    const { code, stdout } = await strongroom(['audit', 'export', '--bucket', 'box', '--action', 'upload'], {
      cwd,
    })
    expect(code).toBe(0)
    const paths = [...stdout.matchAll(/"path":"((?:told|late)-[^"]*)"/g)].map(([, path]) => path)
    expect(paths.sort()).toEqual(['late-0.txt', 'late-1.txt', ...TOLD].sort())
  })
})

describe('a server with workers that ends at once', () => {
  let next: Command

  it('by kill -9 leaves none of them behind, and the next start has all that was acknowledged', async () => {
    const server = start()
    await urlOf(server)
    const [first = 0, second = 0] = workersOf(server)
    const [busy, idle] = [
      await WorkerLine.open(server, first, await serviceKey()),
      await WorkerLine.open(server, second, await serviceKey()),
    ]
    await idle.request('POST', '/bucket', ['Content-Type: application/json'], '{"name":"left"}')
    expect((await idle.request('PUT', '/object/left/kept.txt', [], 'kept')).status).toBe(201)
    await busy.begin('PUT', '/object/left/under-way.txt', [
      'Transfer-Encoding: chunked',
      'Expect: 100-continue',
    ])
    expect((await busy.response()).status).toBe(100)
    await busy.goOn(chunk('one '))

    server.signal('SIGKILL')
    await until(() => !isAlive(second), 'the idle worker has ended')
    expect(isAlive(first)).toBe(true)
    await busy.goOn(chunk('two'), chunk(''))
    expect((await busy.response()).status).toBe(201)
    await until(() => !isAlive(first), 'the busy worker has ended')
    await server.ended

    next = start()
    const again = await urlOf(next)
    const contents = ['kept.txt', 'under-way.txt'].map(async (name) =>
      (await send(again, 'GET', `/object/left/${name}`)).text(),
    )
    expect(await Promise.all(contents)).toEqual(['kept', 'one two'])

    // It has stopped a PostgreSQL: also of that line the pid is the writer's.
    await next.says('Stopped the PostgreSQL')
    const writers = [next.child.pid, ...workersOf(next)]
    for (const line of next.logs) expect(writers).toContain(line.pid)
  })

  it('because it is told to stop again after a second ends its workers, too', async () => {
    const [first = 0, second = 0] = workersOf(next)
    const stuck = await WorkerLine.open(next, first, await serviceKey())
    await stuck.begin('PUT', '/object/left/stuck.txt', UNDER_WAY)
    expect((await stuck.response()).status).toBe(100)
    next.signal('SIGINT')
    await until(() => !isAlive(second), 'the idle worker has ended')
    const heardAt = Date.now()
    await until(() => Date.now() - heardAt > 1100, 'more than a second has passed')
    expect(isAlive(first)).toBe(true)
    next.signal('SIGINT')
    expect(await next.ended).toMatchObject({ code: 1 })
    await until(() => !isAlive(first), 'the busy worker has ended')
    stuck.close()
  })
})

describe('a server with workers and rate limits', () => {
  const MOST = 100
  let server: Command
  const lines: WorkerLine[] = []
  afterAll(async () => {
    for (const each of lines) each.close()
    server.signal('SIGTERM')
    await server.ended
  })

  it('refuses in every worker what was asked for too often, as soon as it has heard of it', async () => {
    server = start({ STORAGE_RATE_LIMIT_READ: `${MOST}/86400` })
    await urlOf(server)
    const keys = JSON.parse(await readFile(join(cwd, 'storage-data', 'keys.json'), 'utf8'))
    const token = (subject: string) => mintToken(keys.jwtSecret, { role: 'authenticated', subject }, 3600)
    const [hostile, innocent] = [await token('hostile'), await token('innocent')]
    for (const worker of workersOf(server)) lines.push(await WorkerLine.open(server, worker, hostile))
    const ask = async (index: number) => (await (lines[index] as WorkerLine).request('GET', '/bucket')).status

    const first: number[] = []
    while (first.at(-1) !== 429) first.push(await ask(0))
    expect(first).toEqual([...Array.from({ length: MOST }, () => 200), 429])
    const second: number[] = []
    await until(
      async () => second.push(await ask(1)) > 0 && second.at(-1) === 429,
      'the other one refuses, too',
    )
    // It would have let in as many once more.
    expect(second.length).toBeLessThan(MOST)
    expect([await ask(0), await ask(1)]).toEqual([429, 429])

    for (const worker of workersOf(server)) {
      const other = await WorkerLine.open(server, worker, innocent)
      lines.push(other)
      expect((await other.request('GET', '/bucket')).status).toBe(200)
    }
  })
})

describe('a server whose workers cannot serve', () => {
  it('says so once, as without workers, and ends', async () => {
    const { host, port: postgresPort, superuser } = inject('postgres')
    const own = await createTestDatabase() // the template must have no visitors
    const [folder, port] = [await newFolder(), await freePort()]
    const other = createServer().listen(port, '127.0.0.1')
    const run = (workers: string) =>
      strongroom(['serve'], {
        cwd: folder,
        env: {
          DATABASE_URL: `postgres:///${own.name}`,
          PGHOST: host,
          PGPORT: String(postgresPort),
          PGUSER: superuser,
          STORAGE_PORT: String(port),
          STORAGE_WORKERS: workers,
        },
      })
    const [alone, several] = [await run('1'), await run('2')]
    other.close()
    await removeFolder(folder, [])
    await own.drop()
    expect(several.stderr).toMatch(/^strongroom: [^\n]+\n$/)
    expect(several.stderr).toContain(`127.0.0.1:${port}. Stop the other server, or set STORAGE_PORT`)
    expect([several.code, several.stderr]).toEqual([1, alone.stderr])
  })
})
