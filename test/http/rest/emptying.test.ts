import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())

describe('emptying a large bucket', () => {
  it('is told of as it goes, and goes on when the client leaves', async () => {
    const bucket = `b-${randomUUID()}`
    await server.createBucket(bucket)
    await server.admin`
      insert into storage.objects (bucket_id, name) select ${bucket}, 'n/' || i from generate_series(1, 21000) i`
    const leaving = new AbortController()
    const asked = fetch(`${server.url}/storage/v1/bucket/${bucket}/empty`, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.keys.serviceKey}` },
      signal: leaving.signal,
    })
    await until(() => told(bucket).length > 0, 'it is on its way')
    leaving.abort()
    await expect(asked).rejects.toThrow()
    await until(() => told(bucket).some(([msg]) => msg === 'the bucket was emptied'), 'it is done')
    expect(told(bucket)).toEqual([
      ['emptying a bucket', 10_000],
      ['emptying a bucket', 20_000],
      ['the bucket was emptied', 21_000],
    ])
    expect(await server.admin`select from storage.objects where bucket_id = ${bucket}`).toHaveLength(0)
  })

  it('answers when all is gone, so that the bucket can be deleted', async () => {
    const bucket = `b-${randomUUID()}`
    await server.createBucket(bucket)
    await server.admin`
      insert into storage.objects (bucket_id, name) select ${bucket}, 'n/' || i from generate_series(1, 2500) i`
    expect((await server.request('POST', `/storage/v1/bucket/${bucket}/empty`)).status).toBe(200)
    expect((await server.request('DELETE', `/storage/v1/bucket/${bucket}`)).status).toBe(200)
    expect(told(bucket)).toEqual([])
  })

  it('tells of versions and the trash, and counts what was in that', async () => {
    const bucket = `b-${randomUUID()}`
    await server.createBucket(bucket, { trash_days: 7 })
    const fill = () => server.admin`
      insert into storage.objects (bucket_id, name, version)
      select ${bucket}, 'n/' || i, gen_random_uuid() from generate_series(1, 3) i`
    const clear = () => server.admin`delete from storage.objects where bucket_id = ${bucket}`
    await fill()
    await clear()
    await server.admin`update storage.buckets set versioning_status = 'ENABLED' where id = ${bucket}`
    await fill()
    await clear()
    const before = await purged()
    expect((await server.request('POST', `/storage/v1/bucket/${bucket}/empty`)).status).toBe(200)
    const line = server.logs.find(({ msg, ...said }) => said.bucket === bucket && /history/.test(msg ?? ''))
    expect(line).toMatchObject({ versions: 6, trash: 3 })
    expect((await purged()) - before).toBe(3)
  })
})

async function purged(): Promise<number> {
  const answer = await server.request('GET', '/metrics')
  return Number(/^storage_trash_purged_total (\d+)/m.exec(await answer.text())?.[1])
}

function told(bucket: string) {
  return server.logs
    .filter((line) => line.bucket === bucket && /empt/.test(line.msg ?? ''))
    .map((line) => [line.msg, line.deleted])
}
