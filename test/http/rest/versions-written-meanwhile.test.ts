import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/** What is asked of a name whose history goes on at this moment: somebody has written to it, and has not committed. */

let server: TestServer
let bucket: string
let path: string
/** The version that was deleted. */
let former: string
/** Who owns what was there, and what comes. */
let token: string
beforeAll(async () => {
  server = await startTestServer()
  token = await server.token('mary')
  await server.admin.unsafe(`
    create policy mine on storage.objects for all to authenticated
    using (owner_id = auth.jwt() ->> 'sub') with check (owner_id = auth.jwt() ->> 'sub')`)
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  path = `/object/${bucket}/a`
  await server.createBucket(bucket)
  await server.admin`update storage.buckets set versioning_status = 'ENABLED' where id = ${bucket}`
  expect((await server.request('PUT', path, { body: 'one', token })).ok).toBe(true)
  expect((await server.request('DELETE', path, { token })).status).toBe(204)
  const [row] = await server.admin`
    select version from storage.object_versions where bucket_id = ${bucket} and kind = 'version'`
  former = String(row?.version)
})

/** Has what comes of `ask` wait for an object that is just written to the name. */
async function whileWritten<T>(ask: () => Promise<T>): Promise<T> {
  const writer = await server.admin.reserve()
  try {
    await writer`begin`
    const [me] = await writer<{ pid: number }[]>`select pg_backend_pid() as pid`
    await writer`
      insert into storage.objects (bucket_id, name, version, owner_id) values (${bucket}, 'a', ${randomUUID()}, 'mary')`
    const answer = ask()
    await until(async () => {
      const waiting =
        await writer`select from pg_stat_activity where ${me?.pid ?? 0} = any (pg_blocking_pids(pid))`
      return waiting.length > 0
    }, 'it waits for the writer')
    await writer`commit`
    return await answer
  } finally {
    writer.release()
  }
}

it('a former version is read beside what the name has then', async () => {
  const answer = await whileWritten(() => server.request('GET', `${path}?versionId=${former}`, { token }))
  expect([answer.status, await answer.text()]).toEqual([200, 'one'])
})

it('a former version is brought back over what the name has then', async () => {
  const body = { bucket, path: 'a', version_id: former }
  const answer = await whileWritten(() => server.request('POST', '/versions/restore', { body, token }))
  expect(answer.status).toBe(200)
  expect(await (await server.request('GET', path)).text()).toBe('one')
})

it('a former version is read by the service without waiting', async () => {
  const writer = await server.admin.reserve()
  try {
    await writer`begin`
    await writer`insert into storage.objects (bucket_id, name, version) values (${bucket}, 'a', ${randomUUID()})`
    const answer = await server.request('GET', `${path}?versionId=${former}`)
    expect([answer.status, await answer.text()]).toEqual([200, 'one'])
  } finally {
    await writer`rollback`
    writer.release()
  }
})

it('a name is deleted with what it has then', async () => {
  const answer = await whileWritten(() => server.request('DELETE', path, { token }))
  expect(answer.status).toBe(204)
  expect((await server.request('GET', path)).status).toBe(404)
  const rows = await server.admin`
    select kind from storage.object_versions where bucket_id = ${bucket} order by sequence`
  expect(rows.map(({ kind }) => kind)).toEqual(['version', 'delete_marker', 'version', 'delete_marker'])
})
