import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cleanUp, repairsOf } from '../../support/cleanup.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { TusRequests } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
let tus: TusRequests
beforeAll(async () => {
  server = await startTestServer()
  tus = new TusRequests(server)
  await server.createBucket('box')
})
afterAll(() => server.close())

/** Lets time pass for everything that has begun. */
const age = async (interval: string) => {
  await server.admin`update storage.resumable_uploads set expires_at = expires_at - ${interval}::interval`
  await server.admin`update storage.uploads set heartbeat_at = heartbeat_at - ${interval}::interval`
}
const rows = async () => {
  const [row] = await server.admin`select
    (select count(*)::int from storage.uploads) as uploads,
    (select count(*)::int from storage.resumable_uploads) as resumable,
    (select count(*)::int from storage.removals) as removals`
  return row
}

describe('a resumable upload that nobody goes on with', () => {
  it('is left alone until it expires, and each chunk gives it a day more', async () => {
    const url = await tus.begin('slow.txt', 10)
    await age('23 hours')
    expect(repairsOf(await cleanUp(server))).toEqual({})
    expect((await tus.patch(url, 0, 'hello')).status).toBe(204)
    await age('23 hours')
    expect(repairsOf(await cleanUp(server))).toEqual({})
    expect((await tus.patch(url, 5, 'world')).status).toBe(204)
    expect(await (await server.request('GET', '/storage/v1/object/box/slow.txt')).text()).toBe('helloworld')
    await server.request('DELETE', '/storage/v1/object/box/slow.txt')
  })

  it('is gone after that, and is removed with its bytes by the cleanup', async () => {
    const url = await tus.begin('expired.txt', 10)
    await tus.patch(url, 0, 'hello')
    await age('25 hours')
    expect((await tus.head(url)).status).toBe(410)
    expect((await tus.patch(url, 5, 'world')).status).toBe(410)
    expect((await tus.send('DELETE', url)).status).toBe(410)
    expect(await server.storedFiles()).toHaveLength(1)
    expect(repairsOf(await cleanUp(server))).toEqual({ staleUpload: 1 })
    expect([await server.storedFiles(), await rows()]).toEqual([
      [],
      { uploads: 0, resumable: 1, removals: 0 }, // the finished one is forgotten by now
    ])
    expect((await tus.head(url)).status).toBe(410)
  })

  it('is forgotten a day later, as finished ones are', async () => {
    const url = await tus.begin('finished.txt', 5)
    await tus.patch(url, 0, 'hello')
    await age('22 hours')
    await cleanUp(server)
    expect(await rows()).toMatchObject({ resumable: 2 })
    await age('3 hours')
    expect(repairsOf(await cleanUp(server, { dryRun: true }))).toEqual({})
    expect(await rows()).toMatchObject({ resumable: 2 })
    await cleanUp(server)
    expect(await rows()).toEqual({ uploads: 0, resumable: 0, removals: 0 })
  })

  it('is forgotten with all others of a busy day', async () => {
    await server.admin`insert into storage.resumable_uploads
        (id, bucket_uid, bucket_id, name, owner_role, is_signed, content, expires_at, ended)
      select gen_random_uuid(), gen_random_uuid(), 'box', 'busy', 'service_role', false, '{}',
        now() - interval '25 hours', 'finished'
      from generate_series(1, 10001)`
    await cleanUp(server)
    expect(await rows()).toEqual({ uploads: 0, resumable: 0, removals: 0 })
  })

  it('is not touched by the sweep, however old its bytes are', async () => {
    const url = await tus.begin('kept.txt', 10)
    await tus.patch(url, 0, 'hello')
    await age('6 hours')
    expect(repairsOf(await cleanUp(server))).toEqual({})
    expect((await tus.patch(url, 5, 'world')).status).toBe(204)
  })

  it('is not said to have come further once the cleanup has given it up', async () => {
    const url = await tus.begin('given-up.txt', 10)
    const { length: before } = await server.storedFiles()
    const body = new TransformStream<Uint8Array, Uint8Array>()
    const writer = body.writable.getWriter()
    const headers = { 'content-type': 'application/offset+octet-stream', 'upload-offset': '0' }
    const answer = tus.send('PATCH', url, { body: body.readable, headers })
    await writer.write(Buffer.from('hello'))
    await until(async () => (await server.storedFiles()).length > before, 'the chunk is being written')
    await until(async () => {
      await age('25 hours') // again, if the server has noted meanwhile how far it is, which gives it a day more
      return (await cleanUp(server)).repairs.staleUpload === 1
    }, 'it is given up')
    await writer.close()
    expect((await answer).status).toBe(423)
    expect((await tus.head(url)).status).toBe(410)
  })
})
