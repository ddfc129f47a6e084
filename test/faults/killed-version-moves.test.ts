import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { until } from '../support/wait.ts'
import { ServerProcesses } from './server-processes.ts'

/** A move where versions are kept copies bytes before its row is changed: a kill between the two. */

const TEXT = 'x'.repeat(200_000)
/** Of PostgreSQL's advisory locks: held, the row waits. */
const GATE = 4711

let servers: ServerProcesses
beforeAll(async () => {
  servers = await ServerProcesses.open({ STORAGE_CLEANUP_INTERVAL: '200ms', STORAGE_CLEANUP_GRACE: '500ms' })
  await servers.start()
})
afterAll(() => servers?.remove())

async function storedFiles(): Promise<string[]> {
  const entries = await readdir(join(servers.folder, 'storage-data', 'objects'), {
    recursive: true,
    withFileTypes: true,
  })
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name)
}

/** What a name has: its text, or the status. */
async function read(name: string): Promise<string | number> {
  const answer = await servers.request('GET', `/storage/v1/object/box/${name}`)
  return answer.ok ? answer.text() : answer.status
}

it('that is killed behind the copy has moved nothing, and leaves nothing', async () => {
  const { admin } = servers.database
  const bucket = { name: 'box', versioning_status: 'ENABLED' }
  expect((await servers.request('POST', '/storage/v1/bucket', { body: bucket })).status).toBe(201)
  expect((await servers.requestOnLine('PUT', '/storage/v1/object/box/a', { body: TEXT })).ok).toBe(true)
  // The first try, which is taken back, changes no version.
  await admin.unsafe(`
    create function public.wait_at_gate() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock_shared(${GATE}); return new; end $$;
    create trigger wait_at_gate before update on storage.objects
      for each row when (old.version is distinct from new.version) execute function public.wait_at_gate()`)
  const gate = await admin.reserve()
  const move = () =>
    servers.request('POST', '/storage/v1/object/move', {
      body: { bucketId: 'box', sourceKey: 'a', destinationKey: 'b' },
    })
  try {
    await gate`select pg_advisory_lock(${GATE})`
    const moving = move().catch(() => null)
    await until(async () => {
      const [row] = await gate`
        select count(*)::int as count from pg_locks where locktype = 'advisory' and objid = ${GATE} and not granted`
      return row?.count === 1
    }, 'the row is about to change')
    expect(await storedFiles()).toHaveLength(2)
    servers.last.signal('SIGKILL')
    await servers.last.ended
    expect(await moving).toBeNull()
  } finally {
    await gate`select pg_advisory_unlock(${GATE})`
    gate.release()
  }
  await servers.start()
  expect([await read('a'), await read('b')]).toEqual([TEXT, 404])
  await until(async () => (await storedFiles()).length === 1, 'the cleanup takes the copy')
  expect(await admin`select from storage.uploads`).toHaveLength(0)
  expect(await admin`select from storage.object_versions`).toHaveLength(0)

  expect((await move()).status).toBe(200)
  expect([await read('a'), await read('b')]).toEqual([404, TEXT])
})
