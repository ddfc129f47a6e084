import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { cleanUp } from '../support/cleanup.ts'
import { type FileFaults, injectFileFaults } from '../support/file-faults.ts'
import { openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { IN_FILES, startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { findDrift, NO_DRIFT } from './drift.ts'

/** One connection: the upload that comes second gets the one that the first has lost, made anew. */
let proxy: PostgresProxy
let dataDir: string
let files: FileFaults
let server: TestServer

beforeAll(async () => {
  proxy = await openPostgresProxy()
  dataDir = await mkdtemp(join(tmpdir(), 'strongroom-lost-'))
  server = await startTestServer(
    { ...IN_FILES, STORAGE_DATABASE_POOL: '1', STORAGE_DATABASE_SPARE: '0', STORAGE_DATA_DIR: dataDir },
    { databaseUrl: (name) => proxy.url(name) },
  )
  files = injectFileFaults(join(dataDir, 'objects'))
})
afterAll(async () => {
  files?.restore()
  await server?.close()
  await proxy?.close()
  await rm(dataDir, { recursive: true })
})

/** Not of what the server does by itself, on connections that it has made anew. */
function isOfUploads(sent: string): boolean {
  const ofItself =
    /^listen |pg_backend_pid|storage\.(?:order_events|take_turn|listed_webhooks)|backup_jobs|storage\.webhooks/
  return !ofItself.test(sent)
}

it.each(['end', 'reset'] as const)(
  'an upload that loses its connection (%s) while its bytes are written fails, and the next one is not published by it',
  async (cut) => {
    const writing: { goOn: () => void; fail: (reason: Error) => void }[] = []
    files.before = (call) =>
      call === 'writev'
        ? new Promise((goOn, fail) => {
            writing.push({ goOn, fail })
          })
        : Promise.resolve()

    // Where he was allowed to write before, he would need no connection while he does.
    const bucket = `box-${cut}`
    await server.createBucket(bucket)
    const first = server.request('POST', `/object/${bucket}/first`, { body: 'first' })
    await until(() => writing.length === 1, 'the first is being written')
    proxy.cutAll(cut)
    const answer = await first
    expect([answer.status, answer.headers.has('retry-after')]).toEqual([503, true])

    const second = server.request('POST', `/object/${bucket}/second`, { body: 'second' })
    await until(() => writing.length === 2, 'the second is being written')
    const before = proxy.roundTrips.length
    writing[0]?.goOn()
    // The first upload has now done all that it still does: what it leaves is there.
    await until(() => files.calls.filter((call) => call === 'close').length >= 2, 'the first file is closed')
    await server.admin`select 1`
    expect(proxy.roundTrips.slice(before).filter(isOfUploads)).toEqual([])
    writing[1]?.fail(Object.assign(new Error('injected'), { code: 'ENOSPC' }))
    expect((await second).status).toBe(507)
    files.before = undefined
    files.arm(0)

    for (const name of ['first', 'second']) {
      expect((await server.request('GET', `/object/${bucket}/${name}`)).status).toBe(404)
    }
    await cleanUp(server)
    expect(await findDrift(server)).toEqual(NO_DRIFT)
    const again = await server.request('POST', `/object/${bucket}/second`, { body: 'second' })
    expect(again.status).toBe(201)
  },
)
