import { createHash } from 'node:crypto'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openBackend } from '../../src/backend/open.ts'
import { readConfig } from '../../src/config/config.ts'
import { loadKeys } from '../../src/server/keys.ts'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { describeWithS3, s3Env } from '../support/s3.ts'
import { openS3Proxy, type S3Proxy } from '../support/s3-proxy.ts'
import { IN_FILES } from '../support/server.ts'
import { until } from '../support/wait.ts'

// In one folder and in this order: to the store, and back.
describeWithS3('strongroom migrate-backend', (s3) => {
  const MiB = 1024 * 1024
  const SMALL = 50
  const LARGE = 4
  /** What was there before and is kept: half of it versions, under objects and under markers, and half of it in the trash. */
  const FORMER = 50
  let folder: string
  let env: Record<string, string>
  const servers: Command[] = []
  let proxy: S3Proxy
  let url: string
  let serviceKey: string

  beforeAll(async () => {
    folder = await newFolder()
    const { STORAGE_BACKEND: _, ...store } = await s3Env(s3)
    env = {
      ...IN_FILES,
      ...store,
      STORAGE_LOG_LEVEL: 'warn',
      STORAGE_CLEANUP_GRACE: '0s',
      NODE_NO_WARNINGS: '1',
    }
    proxy = await openS3Proxy(s3)
    await serve({})
    const none = { jwtSecret: undefined, signingSecret: undefined }
    serviceKey = (await loadKeys(join(folder, 'storage-data'), none)).serviceKey
    await send('POST', '/bucket', '{"name":"b"}')
    await send('POST', '/bucket', '{"name":"kept","versioning_status":"ENABLED"}')
    await send('POST', '/bucket', '{"name":"thrown-away","trash_days":7}')
    await forAll((name, body) => send('POST', `/object/b/${name}`, body))
    for (let i = 0; i < FORMER / 2; i++) {
      await send('PUT', `/object/kept/${i % 5}`, `version ${i}`)
      if (i % 3 === 0) await send('DELETE', `/object/kept/${i % 5}`)
      await send('PUT', `/object/thrown-away/${i % 5}`, `thrown away ${i}`)
      await send('DELETE', `/object/thrown-away/${i % 5}`)
    }
    for (let i = 0; i < 5; i++) await send('DELETE', `/object/kept/${i}`)
    history = await readHistory()
    expect(history.filter((line) => line.includes('version '))).toHaveLength(FORMER / 2)
  })
  afterAll(async () => {
    await removeFolder(folder, servers)
    await proxy?.close()
  })

  /** Of the buckets that keep what was there before, when all of it was made. */
  let history: string[]
  const expected = new Map<string, string>()
  for (let i = 0; i < SMALL; i++) expected.set(`small-${i}`, `the bytes of ${i}`)
  for (let i = 0; i < LARGE; i++) expected.set(`large-${i}`, String(i).repeat(7 * MiB))

  /** Some at once. */
  async function forAll(work: (name: string, body: string) => Promise<unknown>): Promise<void> {
    const rest = [...expected]
    while (rest.length > 0) await Promise.all(rest.splice(0, 20).map(([name, body]) => work(name, body)))
  }

  /** Stops the server, in order, and starts it with other settings. */
  async function serve(settings: Record<string, string>): Promise<void> {
    const last = servers.at(-1)
    last?.signal('SIGTERM')
    await last?.ended
    const own = { STORAGE_PORT: '0', STORAGE_LOG_LEVEL: 'info', STORAGE_CLEANUP_INTERVAL: '0s' }
    const server = new Command(['serve'], { cwd: folder, env: { ...env, ...own, ...settings } })
    servers.push(server)
    url = await server.url()
  }

  async function send(method: string, path: string, body: string | null = null): Promise<Response> {
    const headers = { authorization: `Bearer ${serviceKey}` }
    const response = await fetch(`${url}${path}`, { method, headers, body })
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
    return response
  }

  async function versionOf(name: string): Promise<string> {
    const info = await (await send('GET', `/object/info/b/${name}`)).json()
    return (info as { version: string }).version
  }

  /** What each name has had, the newest first, with what is read by its version and by its moment; and what is in the trash. */
  async function readHistory(): Promise<string[]> {
    const lines: string[] = []
    for (let i = 0; i < 5; i++) {
      const { items } = (await (await send('GET', `/versions/kept/${i}`)).json()) as {
        items: { version_id: string; version_number: number; is_delete_marker: boolean }[]
      }
      for (const { version_id: id, version_number: number, is_delete_marker: isMarker } of items) {
        const read = async () => (await send('GET', `/object/kept/${i}?versionId=${id}`)).text()
        lines.push(`kept/${i} #${number} ${id} ${isMarker ? 'marker' : await read()}`)
      }
    }
    const { items } = (await (await send('GET', '/trash?bucket=thrown-away')).json()) as {
      items: { path: string; version: string; deleted_at: string; checksum: string }[]
    }
    for (const { path, version, deleted_at, checksum } of items)
      lines.push(`thrown-away/${path} ${version} ${deleted_at} ${checksum}`)
    return lines
  }

  async function expectAllReadable(): Promise<void> {
    expect(await readHistory()).toEqual(history)
    await forAll(async (name, body) => {
      expect((await (await send('GET', `/object/b/${name}`)).text()) === body, name).toBe(true)
    })
  }

  const migrate = (from: string, to: string, settings: Record<string, string> = {}, ...args: string[]) =>
    new Command(['migrate-backend', '--from', from, '--to', to, ...args], {
      cwd: folder,
      env: { ...env, ...settings },
    })
  /** Lets the store do so many requests of this kind and then no more, so that a run is caught in the middle. */
  const stallAfter = (count: number, method: string) => {
    let seen = 0
    return proxy.fail(
      { at: 'before', what: 'stall' },
      { when: (request) => request.method === method && ++seen > count },
    )
  }
  /** How many requests have brought bytes to the store, through the proxy. */
  const brought = () =>
    proxy.requests.filter(({ method, status }) => method === 'PUT' && status === 200).length
  const cleanup = (settings: Record<string, string>) =>
    strongroom(['cleanup'], { cwd: folder, env: { ...env, ...settings } })

  async function inStore(): Promise<Map<string, number>> {
    const dataDir = join(folder, 'storage-data')
    const backend = await openBackend('s3', readConfig({ ...env, STORAGE_DATA_DIR: dataDir }))
    const sizes = new Map<string, number>()
    for await (const { location, size } of backend.list()) sizes.set(location.version, size)
    await backend.close()
    return sizes
  }
  /** The files below the data folder's `objects/`, by their names. */
  async function inFolder(): Promise<Map<string, string>> {
    const options = { recursive: true, withFileTypes: true } as const
    const entries = await readdir(join(folder, 'storage-data', 'objects'), options).catch(() => [])
    return new Map(entries.filter((e) => e.isFile()).map((e) => [e.name, join(e.parentPath, e.name)]))
  }
  const ALL = SMALL + LARGE + FORMER

  const toStore = { STORAGE_BACKEND: 's3', STORAGE_BACKEND_PREVIOUS: 'local' }
  const toFolder = { STORAGE_BACKEND: 'local', STORAGE_BACKEND_PREVIOUS: 's3' }

  it('goes on after a kill -9 and after Ctrl-C, until everything is in the store', async () => {
    await serve(toStore)
    const throughProxy = { ...toStore, STORAGE_S3_ENDPOINT: proxy.endpoint }
    const kill = stallAfter(40, 'PUT')
    const killed = migrate('local', 's3', throughProxy, '--parallel', '2')
    await until(() => brought() >= 20, 'the store has some objects')
    killed.signal('SIGKILL')
    await killed.ended
    kill.stop()
    expect((await inStore()).size).toBeLessThan(ALL)

    const before = brought()
    const interrupt = stallAfter(40, 'PUT')
    const interrupted = migrate('local', 's3', throughProxy, '--parallel', '2')
    await until(() => brought() >= before + 20, 'the store has some more')
    interrupted.signal('SIGINT')
    interrupt.stop()
    proxy.cut() // what has stalled is tried again
    const { code, stdout } = await interrupted.ended
    expect(stdout).toMatch(
      /^\d+ objects with .* were copied from local to s3.\nInterrupted: \d+ of 104 objects are in s3. The next run goes on.\n$/,
    )
    const known = Number(/(\d+) of 104/.exec(stdout)?.[1])
    const stored = (await inStore()).size
    expect([code, stored < ALL]).toEqual([1, true])
    // What the first run has copied is known once it was looked at.
    expect(known).toBeGreaterThan(0)
    expect(known).toBeLessThanOrEqual(stored)

    const finished = await migrate('local', 's3', toStore).ended
    expect(finished).toMatchObject({ code: 0, stderr: '' })
    expect(finished.stdout).toMatch(
      /^\d+ objects with \d+ MB were copied from local to s3, \d+ were there already; all 104 are in s3 now.\nAll objects are in s3. Restart the servers without STORAGE_BACKEND_PREVIOUS.\nNothing was deleted from local: /,
    )
    expect(finished.stdout).toContain(`${ALL - stored} objects with`)
    expect((await inStore()).size).toBe(ALL)
    expect((await inFolder()).size).toBe(ALL)
  })

  it('leaves a store that serves everything by itself', async () => {
    await serve({ STORAGE_BACKEND: 's3' })
    await rm(join(folder, 'storage-data', 'objects'), { recursive: true })
    await expectAllReadable()
    const { code, stdout } = await cleanup({ STORAGE_BACKEND: 's3' })
    // At most the multipart uploads of the run that was killed.
    expect(stdout).toMatch(/^ +0 {2}files that nothing named/m)
    expect(stdout).toMatch(/^ +0 {2}objects without bytes/m)
    expect(code).toBe(0)
  })

  it('after a kill -9 on the way back, what has the name of an object is whole', async () => {
    await serve(toFolder)
    stallAfter(50, 'GET')
    const throughProxy = { ...toFolder, STORAGE_S3_ENDPOINT: proxy.endpoint }
    const killed = migrate('s3', 'local', throughProxy, '--parallel', '4')
    await until(async () => (await inFolder()).size >= 30, 'the folder has some files')
    killed.signal('SIGKILL')
    await killed.ended
    const files = await inFolder()
    expect(files.size).toBeLessThan(ALL)
    let whole = 0
    await forAll(async (name, body) => {
      const file = files.get(await versionOf(name))
      if (file === undefined) return
      expect(sha256(await readFile(file)), name).toBe(sha256(body))
      whole++
    })
    expect(whole).toBeGreaterThan(20)
    expect(files.size - whole).toBeLessThanOrEqual(4) // drafts
    await expectAllReadable()
  })

  it('and the next run brings the rest, with nothing for the cleanup but the drafts', async () => {
    expect(await migrate('s3', 'local', toFolder).ended).toMatchObject({ code: 0, stderr: '' })
    await serve({ STORAGE_BACKEND: 'local' })
    await expectAllReadable()
    const leftovers = (await inFolder()).size - ALL
    const { stdout } = await cleanup({})
    expect(stdout).toMatch(new RegExp(`^ +${leftovers}  files that nothing named`, 'm'))
    expect(stdout).toMatch(/^ +0 {2}objects without bytes/m)
    expect((await inFolder()).size).toBe(ALL)
    expect((await strongroom(['scrub'], { cwd: folder, env })).stdout).toMatch(
      /^104 of 104 .* 0 corrupted, 0 missing/,
    )
  })

  it('names what it could not move, and ends with 1', async () => {
    const fileOf = async (name: string) => (await inFolder()).get(await versionOf(name)) ?? ''
    await rm(await fileOf('small-7'))
    const { code, stdout } = await migrate('local', 's3').ended
    // It is still in the store, and so are all others.
    expect([code, stdout]).toEqual([
      0,
      expect.stringContaining(
        '0 objects with 0 MB were copied from local to s3, 104 were there already; all 104 are in s3 now.',
      ),
    ])
    await send('PUT', '/object/b/small-7', 'new bytes')
    await send('PUT', '/object/b/small-8', 'more bytes')
    await rm(await fileOf('small-7'))
    const partly = await migrate('local', 's3').ended
    expect(partly.stdout).toMatch(
      /^1 object with 0 MB was copied from local to s3, 102 were there already; 103 of 104 are in s3 now.\nNot moved, there are no bytes of it: b\/small-7\nAll other objects are in s3./,
    )
    expect(partly.code).toBe(1)
  })

  it('says that the store has no such bucket', async () => {
    const { code, stdout, stderr } = await migrate('local', 's3', { STORAGE_S3_BUCKET: 'no-such-bucket' })
      .ended
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(
      /strongroom: The file store refuses the server: The store has no bucket "no-such-bucket": make it, or correct STORAGE_S3_BUCKET\n/,
    )
  })

  it('says that the store cannot be reached, and goes on when it can', async () => {
    const away = { STORAGE_S3_ENDPOINT: 'http://127.0.0.1:9', STORAGE_S3_ATTEMPTS: '1' }
    const { code, stdout, stderr } = await migrate('local', 's3', away).ended
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(
      /strongroom: The file store is not available; .*: Nothing answers at http:\/\/127.0.0.1:9: /,
    )
  })
})

function sha256(bytes: string | Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
