import { createHash, randomBytes } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Command, isAlive, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { chunk, RawConnection, rawRequest } from '../support/raw-http.ts'
import { until } from '../support/wait.ts'

/** One data folder, on which server after server is started. */
let cwd: string
const started: Command[] = []

beforeAll(async () => {
  cwd = await newFolder()
})
afterAll(() => removeFolder(cwd, started))

function start(env: Record<string, string> = {}): Command {
  const server = new Command(['serve'], { cwd, env: { STORAGE_PORT: '0', ...env } })
  started.push(server)
  return server
}

async function keys(): Promise<{
  anonKey: string
  serviceKey: string
  jwtSecret: string
  signingSecret: string
}> {
  return JSON.parse(await readFile(join(cwd, 'storage-data', 'keys.json'), 'utf8'))
}

async function send(
  url: string,
  method: string,
  path: string,
  body?: string | Uint8Array,
): Promise<Response> {
  const headers = { authorization: `Bearer ${(await keys()).serviceKey}` }
  const init = { method, headers, ...(body !== undefined && { body }) } as RequestInit
  return fetch(`${url}/storage/v1${path}`, init)
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

describe('the first start', () => {
  let server: Command
  let url: string
  beforeAll(async () => {
    server = start()
    url = await server.url()
  })

  it('writes nothing but lines of JSON: one of them says where it listens, and where the keys are', async () => {
    const lines = server.stdout.trimEnd().split('\n')
    expect(lines.filter((line) => !line.startsWith('{'))).toEqual([])
    const keysFile = join(cwd, 'storage-data', 'keys.json')
    expect(server.logs.filter(({ keys }) => keys === keysFile)).toEqual([
      expect.objectContaining({
        url,
        msg: expect.stringMatching(/listening; `node .*main\.js keys` prints its keys$/),
      }),
    ])
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
    expect(server.stderr).toBe('')
  })

  it('tells what takes its time', () => {
    const said = server.logs.map(({ msg }) => msg)
    expect(said).toContain('making the database, which takes some seconds, once')
    expect(said).toContain('migrating the database')
  })

  it('says of each line when it was, how grave it is and whose; of a request what it was about, and how long it took', async () => {
    await send(url, 'POST', '/bucket', '{"name":"lines","public":true}')
    const name = 'a "b"\u2028\u00e9.txt'
    await send(url, 'PUT', `/object/lines/${encodeURIComponent(name)}`, 'hello')
    const read = `/object/public/lines/${encodeURIComponent(name)}`
    for (const expected of [200, 200, 200]) expect((await send(url, 'GET', read)).status).toBe(expected)
    // What nobody may write: a line of its own, the cursor's place, a link's signature.
    const signature = 'f'.repeat(64)
    await send(url, 'GET', `/object/public/lines/${encodeURIComponent('x\n{"level":"fatal"}\u001b[2J')}`)
    await send(url, 'GET', `/object/public/lines/a.txt%3FX-Amz-Signature%3D${signature}&b=1`)
    await send(url, 'GET', `/s3/lines/a.txt?X-Amz-Signature=${signature}`)
    await send(url, 'GET', `/object/public/lines/${'long/'.repeat(1000)}`)
    const requests = () => server.logs.filter(({ msg }) => msg === 'request')
    await until(() => requests().length >= 9, 'all of them are in the log')

    for (const line of server.logs) {
      expect(line).toMatchObject({
        level: expect.stringMatching(/^(?:info|warn)$/),
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        service: 'file_storage',
        msg: expect.any(String),
      })
    }
    const times = server.logs.map(({ time }) => String(time))
    expect(times).toEqual([...times].sort())
    expect(Math.abs(Date.parse(times.at(-1) ?? '') - Date.now())).toBeLessThan(3_600_000)
    const about = { bucket: 'lines', path: name, size: 5, requestId: expect.any(String) }
    expect(requests().filter(({ path }) => path === name)).toEqual([
      expect.objectContaining({
        ...about,
        operation: 'storage.object.upload_update',
        role: 'service_role',
        status: 201,
      }),
      ...[1, 2, 3].map(() =>
        expect.objectContaining({
          ...about,
          operation: 'storage.object.get_public',
          role: 'anon',
          status: 200,
        }),
      ),
    ])
    for (const line of requests()) {
      expect(line.duration_ms).toEqual(expect.any(Number))
      expect(String(line.path ?? '').length).toBeLessThan(2100)
    }
    const lines = server.stdout.trimEnd().split('\n')
    expect(lines.filter((line) => !line.startsWith('{"level":"'))).toEqual([])
    expect(server.stdout).not.toContain(signature)
    expect(server.stdout).not.toContain('\u001b')
  })

  it('keeps keys.json for its owner alone', async () => {
    expect((await stat(join(cwd, 'storage-data', 'keys.json'))).mode & 0o777).toBe(0o600)
  })

  it('keeps its data from another server, which says who has it and ends', async () => {
    const { code, stderr } = await strongroom(['serve'], { cwd, env: { STORAGE_PORT: '0' } })
    expect(code).toBe(1)
    expect(stderr).toMatch(/^strongroom: [^\n]+\n$/)
    expect(stderr).toContain(String(server.child.pid))
    expect((await fetch(`${url}/health`)).status).toBe(200)
  })

  it('keeps its port from another server, which says so, makes nothing, and ends', async () => {
    const folder = await newFolder()
    const { code, stdout, stderr } = await strongroom(['serve'], {
      cwd: folder,
      env: { STORAGE_PORT: new URL(url).port },
    })
    expect(await readdir(folder)).toEqual([])
    await removeFolder(folder, [])
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^strongroom: [^\n]+\n$/)
    expect(stderr).toContain(`127.0.0.1:${new URL(url).port}. Stop the other server, or set STORAGE_PORT`)
  })

  it('finishes what is running when it gets SIGINT, then stops PostgreSQL and ends', async () => {
    await send(url, 'POST', '/bucket', '{"name":"slow"}')
    const large = randomBytes(30_000_000)
    expect((await send(url, 'PUT', '/object/slow/down.bin', large)).status).toBe(201)
    const { postgres } = server
    const auth = `Authorization: Bearer ${(await keys()).serviceKey}`
    const down = await RawConnection.open(url)
    await down.send(rawRequest('GET', '/object/slow/down.bin', [auth]))
    await down.firstBytes()
    const up = await RawConnection.open(url)
    await up.send(
      rawRequest('PUT', '/object/slow/up.txt', [auth, 'Transfer-Encoding: chunked']),
      chunk('one '),
    )

    server.signal('SIGINT')
    server.signal('SIGINT') // as a terminal and npm both do
    await server.says('stopping')
    await expect(fetch(`${url}/status`)).rejects.toThrow()
    expect(server.isRunning).toBe(true)
    await up.send(chunk('two'), chunk(''))
    expect((await up.response()).status).toBe(201)
    down.goOn()
    const { status, body } = await down.response()

    expect([status, sha256(body)]).toEqual([200, sha256(large)])
    expect(await server.ended).toMatchObject({ code: 0, signal: null, stderr: '' })
    expect(server.logs.at(-1)).toMatchObject({ msg: 'stopped' })
    expect(server.postgres).toBeUndefined()
    expect(isAlive(Number(postgres))).toBe(false)
  })

  it('has written no key or secret to its log', async () => {
    const secrets = Object.values(await keys())
    expect(server.logs.length).toBeGreaterThan(5)
    for (const secret of secrets) expect(server.stdout + server.stderr).not.toContain(secret)
  })
})

describe('another start', () => {
  it('keeps all data and keys, prints no key, and ends in order at SIGTERM', async () => {
    const before = await keys()
    const server = start()
    const url = await server.url()

    expect(await keys()).toEqual(before)
    for (const key of Object.values(before)) expect(server.stdout).not.toContain(key)
    expect(await (await send(url, 'GET', '/object/slow/up.txt')).text()).toBe('one two')
    const { postgres } = server
    expect(isAlive(Number(postgres))).toBe(true)
    server.signal('SIGTERM')
    expect(await server.ended).toMatchObject({ code: 0, stderr: '' })
    expect(isAlive(Number(postgres))).toBe(false)
  })

  it('may be told to end before it has begun', async () => {
    const server = start()
    await until(() => server.postgres !== undefined || server.stdout !== '', 'it starts PostgreSQL')
    server.signal('SIGTERM')
    expect(await server.ended).toMatchObject({ code: 0, stderr: '' })
    expect(server.postgres).toBeUndefined()
  })

  it('gives up what is running when the time for it is over', async () => {
    const server = start({ STORAGE_SHUTDOWN_TIMEOUT: '200ms' })
    const up = await stuckUpload(await server.url())
    server.signal('SIGTERM')
    expect(await server.ended).toMatchObject({ code: 0 })
    expect(server.stdout).toContain('still running')
    up.abort()
  })

  it('ends at once when it is told so again after a second, and leaves nothing that the next one minds', async () => {
    const server = start()
    const up = await stuckUpload(await server.url())
    server.signal('SIGINT')
    await server.says('stopping')
    const heardAt = Date.now()
    await until(() => Date.now() - heardAt > 1100, 'more than a second has passed')
    expect(server.isRunning).toBe(true)
    server.signal('SIGINT')
    expect(await server.ended).toMatchObject({ code: 1 })
    up.abort()

    const next = start()
    expect((await send(await next.url(), 'GET', '/object/slow/stuck.txt')).status).toBe(404)
    next.signal('SIGINT')
    expect(await next.ended).toMatchObject({ code: 0 })
  })

  /** An upload that has begun and does not go on. */
  async function stuckUpload(url: string): Promise<RawConnection> {
    const up = await RawConnection.open(url)
    const headers = [`Authorization: Bearer ${(await keys()).serviceKey}`, 'Transfer-Encoding: chunked']
    await up.send(rawRequest('PUT', '/object/slow/stuck.txt', [...headers, 'Expect: 100-continue']))
    expect((await up.response()).status).toBe(100)
    await up.send(chunk('x'.repeat(100_000)))
    return up
  }
})

describe('after kill -9 in the middle of uploads', () => {
  it('the next start has every acknowledged object whole, and the rest not at all or whole, without help', async () => {
    const server = start()
    const url = await server.url()
    await send(url, 'POST', '/bucket', '{"name":"crash"}')
    const sent = new Map<string, string>()
    const acknowledged = new Set<string>()
    let killed = false
    const uploader = async (worker: number) => {
      for (let n = 0; !killed; n++) {
        const name = `${worker}/${n}`
        const bytes = randomBytes(n % 3 === 0 ? 400_000 : 2000)
        sent.set(name, sha256(bytes))
        const response = await send(url, 'PUT', `/object/crash/${name}`, bytes).catch(() => null)
        if (response?.status === 201) acknowledged.add(name)
      }
    }
    const uploads = [0, 1, 2, 3, 4, 5].map(uploader)
    await until(() => acknowledged.size > 60, 'sixty objects are stored')
    server.signal('SIGKILL')
    killed = true
    await Promise.all(uploads)
    expect(await server.ended).toMatchObject({ signal: 'SIGKILL' })

    const next = start()
    const again = await next.url()
    const lost: string[] = []
    const damaged: string[] = []
    for (const [name, checksum] of sent) {
      const response = await send(again, 'GET', `/object/crash/${name}`)
      const bytes = new Uint8Array(await response.arrayBuffer())
      if (response.status === 404 && !acknowledged.has(name)) continue
      if (response.status !== 200) lost.push(name)
      else if (sha256(bytes) !== checksum) damaged.push(name)
    }
    expect({ lost, damaged }).toEqual({ lost: [], damaged: [] })
    expect((await send(again, 'PUT', '/object/crash/after', 'works')).status).toBe(201)
    next.signal('SIGTERM')
    expect(await next.ended).toMatchObject({ code: 0 })
    expect(next.postgres).toBeUndefined()
  })
})
