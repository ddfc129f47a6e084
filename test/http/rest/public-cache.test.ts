import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

let proxy: PostgresProxy
let server: TestServer
let uncached: Served
let count = 0
let bucket: string
beforeAll(async () => {
  proxy = await openPostgresProxy()
  server = await startTestServer({}, { databaseUrl: (name) => proxy.url(name) })
  uncached = await server.beside({ STORAGE_CACHE_SIZE: '0' })
})
beforeEach(async () => {
  bucket = `open-${++count}`
  await server.createBucket(bucket, { policy: 'public' })
})
afterAll(async () => {
  await uncached.close()
  await server.close()
  await proxy.close()
})

async function put(name: string, body: string, on: Served = server) {
  const headers = { 'content-type': 'text/plain', 'cache-control': 'max-age=60' }
  const response = await on.request('PUT', `/storage/v1/object/${bucket}/${name}`, { body, headers })
  expect(response.ok).toBe(true)
}

function get(name: string, headers: Record<string, string> = {}, on: Served = server) {
  return on.request('GET', `/storage/v1/object/public/${bucket}/${name}`, { token: null, headers })
}

async function read(name: string, on: Served = server): Promise<string> {
  const response = await get(name, {}, on)
  const body = await response.text()
  return response.ok ? body : `${response.status}`
}

/** Reads until the database is not asked any more. */
async function warm(name: string) {
  await until(async () => {
    proxy.arm(0)
    expect((await get(name)).status).toBe(200)
    return !proxy.roundTrips.some((text) => text.includes('read_object'))
  }, 'an object that is read again and again is in memory')
}

describe('a public object that is in memory is answered as it would be without', () => {
  const REQUESTS: [string, string, Record<string, string>][] = [
    ['whole', '', {}],
    ['a part', '', { range: 'bytes=2-4' }],
    ['a part that is not there', '', { range: 'bytes=99-' }],
    ['if it has changed', '', { 'if-none-match': '*' }],
    ['if it is the same', '', { 'if-match': '"other"' }],
    ['as a download', '?download=other.txt', {}],
    ['to a page of another origin', '', { origin: 'https://app.example' }],
    ['with a token that does not hold', '', { authorization: 'Bearer nonsense' }],
  ]
  it.each(REQUESTS)('%s', async (_name, query, headers) => {
    await put('a file.txt', 'content')
    await warm('a%20file.txt')
    const path = `/storage/v1/object/public/${bucket}/a%20file.txt${query}`
    for (const method of ['GET', 'HEAD']) {
      const answers = [server, uncached].map(async (on) => {
        const response = await on.request(method, path, { token: null, headers })
        const { 'x-request-id': id, date, ...fields } = Object.fromEntries(response.headers)
        expect([id, date]).not.toContain(undefined)
        return { status: response.status, fields, body: await response.text() }
      })
      const [ours, without] = await Promise.all(answers)
      expect(ours).toEqual(without)
    }
  })

  it('in the log too', async () => {
    await put('logged', 'content')
    await warm('logged')
    const path = `/storage/v1/object/public/${bucket}/logged`
    const lines = []
    for (const on of [server, uncached]) {
      const response = await on.request('GET', path, {
        token: null,
        headers: { 'x-request-id': `log-${count}` },
      })
      await response.text()
      const ofRequest = () => on.logs.find((line) => line.requestId === `log-${count}`)
      await until(() => ofRequest() !== undefined, 'the request is logged')
      const { time, duration_ms: ms, ...said } = ofRequest() ?? { level: 0 }
      expect([time, ms]).not.toContain(undefined)
      lines.push(said)
    }
    expect(lines[0]).toEqual(lines[1])
    expect(lines[0]).toMatchObject({ bucket, path: 'logged', size: 7, role: 'anon', status: 200 })
  })
})

describe('what this server changes is never answered from before', () => {
  it('an overwrite, a delete, and a new object of that name', async () => {
    for (let round = 0; round < 30; round++) {
      await put('again', `body ${round}`)
      expect(await read('again')).toBe(`body ${round}`)
      expect(await read('again')).toBe(`body ${round}`)
      if (round % 5 === 4) {
        await server.request('DELETE', `/storage/v1/object/${bucket}/again`)
        expect(await read('again')).toBe('404')
      }
    }
  })

  it('to anybody, however many read and write at once', async () => {
    let acknowledged = -1
    let isOver = false
    const writer = async () => {
      for (let version = 0; version < 25; version++) {
        await put('counter', String(version))
        acknowledged = version
      }
      isOver = true
    }
    const late: string[] = []
    let reads = 0
    const reader = async () => {
      while (!isOver) {
        const least = acknowledged
        const found = await read('counter')
        reads++
        if (found === '404' ? least >= 0 : Number(found) < least) late.push(`${found} after ${least}`)
      }
    }
    await Promise.all([writer(), ...Array.from({ length: 4 }, reader)])
    expect(late).toEqual([])
    expect(reads).toBeGreaterThan(25)
    expect(await read('counter')).toBe('24')
  })

  it('a delete of what another server has deleted already', async () => {
    for (let round = 0; round < 10; round++) {
      await put('twice', 'content')
      await warm('twice')
      await uncached.request('DELETE', `/storage/v1/object/${bucket}/twice`)
      expect((await server.request('DELETE', `/storage/v1/object/${bucket}/twice`)).status).toBe(404)
      expect(await read('twice')).toBe('404')
    }
  })

  it('a move, a bucket that is made private, and one that is emptied and deleted', async () => {
    await put('here', 'moved')
    await warm('here')
    const move = { bucketId: bucket, sourceKey: 'here', destinationKey: 'there' }
    await server.request('POST', '/storage/v1/object/move', { body: move })
    expect(await read('here')).toBe('404')
    expect(await read('there')).toBe('moved')

    await warm('there')
    await server.request('PUT', `/storage/v1/bucket/${bucket}`, { body: { public: false } })
    expect(await read('there')).toBe('404')
    await server.request('PUT', `/storage/v1/bucket/${bucket}`, { body: { public: true } })
    expect(await read('there')).toBe('moved')

    await warm('there')
    await server.request('POST', `/storage/v1/bucket/${bucket}/empty`, { body: {} })
    expect(await read('there')).toBe('404')
    await put('there', 'new')
    await warm('there')
    await server.request('DELETE', `/storage/v1/object/${bucket}`, { body: { prefixes: ['there'] } })
    await server.request('DELETE', `/storage/v1/bucket/${bucket}`)
    expect(await read('there')).toBe('404')
  })
})

describe('what others change is followed', () => {
  it('an overwrite and a delete on another server', async () => {
    await put('shared', 'first')
    await warm('shared')
    await put('shared', 'second', uncached)
    await until(async () => (await read('shared')) === 'second', 'the overwrite is seen')
    await warm('shared')
    await uncached.request('DELETE', `/storage/v1/object/${bucket}/shared`)
    await until(async () => (await read('shared')) === '404', 'the delete is seen')
  })

  it('rows and buckets by plain SQL', async () => {
    await put('by-sql', 'content')
    await warm('by-sql')
    await server.admin`
      update storage.objects set metadata = jsonb_set(metadata, '{cacheControl}', '"max-age=7"')
      where bucket_id = ${bucket}`
    const cacheControl = async () => (await get('by-sql')).headers.get('cache-control')
    await until(async () => (await cacheControl()) === 'max-age=7', 'the new metadata is sent')
    await warm('by-sql')
    await server.admin`update storage.buckets set public = false where id = ${bucket}`
    await until(async () => (await read('by-sql')) === '404', 'the bucket is private')
  })

  it.each(['id', 'name'])('what came out of the trash by its %s, though the answer was lost', async (by) => {
    await server.request('PUT', `/storage/v1/bucket/${bucket}`, { body: { trash_days: 7 } })
    await put('back', 'before')
    const { id } = Object(
      await (await server.request('GET', `/storage/v1/object/info/${bucket}/back`)).json(),
    )
    await server.request('DELETE', `/storage/v1/object/${bucket}/back`)
    await put('back', 'after')
    await warm('back')
    // No connection has sent this before: first it is prepared.
    let trips = 0
    proxy.decide = (about) =>
      about.includes('restore_trash') && ++trips === 2 ? { kind: 'after' } : undefined
    const target = by === 'id' ? { ids: [id] } : { bucket, path: 'back' }
    const restored = await server.request('POST', '/storage/v1/trash/restore', {
      body: { ...target, overwrite: true },
    })
    proxy.decide = undefined
    expect(restored.status).toBe(503)
    expect(await read('back')).toBe('before')
  })

  it('a database that cannot be asked any more: then nothing is answered from memory', async () => {
    await put('cut-off', 'content')
    await warm('cut-off')
    proxy.mode = 'refuse'
    proxy.cutAll()
    await until(async () => (await read('cut-off')) === '503', 'it is not answered from memory')
    proxy.mode = 'pass'
    await until(async () => (await read('cut-off')) === 'content', 'it is answered again')
    await warm('cut-off')
  })
})

it('bytes that the disk has damaged are not kept', async () => {
  await put('damaged', 'content')
  const store = (bytes: string) => server.admin`
    update storage.inline_bytes set bytes = ${Buffer.from(bytes)}
    where version::text in (select version from storage.objects where bucket_id = ${bucket})`
  await store('CONTENT')
  for (let round = 0; round < 5; round++) expect(await read('damaged')).toBe('CONTENT')
  await store('content')
  expect(await read('damaged')).toBe('content')
})

it('a row whose size is not that of its bytes is refused, and never framed wrongly', async () => {
  await put('resized', 'content')
  await warm('resized')
  await server.admin`
    update storage.objects set metadata = jsonb_set(metadata, '{size}', '3') where bucket_id = ${bucket}`
  await until(async () => (await read('resized')) !== 'content', 'the change is seen')
  expect(await read('resized', uncached)).toBe('404')
  for (let round = 0; round < 3; round++) expect(await read('resized')).toBe('404')
})

it('an object that was marked as corrupted is not sent, and is again once the mark is taken away', async () => {
  const mark = (reason: string | null) => server.admin`
    update storage.objects set quarantine_reason = ${reason} where bucket_id = ${bucket}`
  await put('marked', 'x'.repeat(300_000))
  await warm('marked')
  await mark('corrupted')
  await until(async () => (await get('marked')).status === 500, 'it is not sent')
  for (let round = 0; round < 3; round++) expect((await get('marked')).status).toBe(500)
  await mark(null)
  await until(async () => (await get('marked')).status === 200, 'it is sent')
})

it('changes whose events are forgotten before they were looked at are followed', async () => {
  await put('one', 'content')
  await put('two', 'content')
  for (let round = 0; round < 3; round++) await warm('one') // until its bytes are in memory, too
  proxy.mode = 'refuse'
  proxy.cutAll()
  for (const name of ['one', 'two']) {
    await server.admin`
      update storage.objects set metadata = jsonb_set(metadata, '{cacheControl}', '"max-age=7"')
      where bucket_id = ${bucket} and name = ${name}`
    await server.admin`select storage.order_events()`
  }
  await server.admin`
    with old as (
      delete from storage.event_order where position < (select max(position) from storage.event_order)
      returning event_id
    )
    delete from storage.events where id in (select event_id from old)`
  await until(async () => (await read('one')) === '503', 'the last look is too old')
  proxy.mode = 'pass'
  await until(async () => (await get('two')).ok, 'the database is there again')
  await warm('two')
  expect((await get('one')).headers.get('cache-control')).toBe('max-age=7')
})

it('a row that names the version of a private object does not open it', async () => {
  await server.createBucket(`closed-${count}`)
  const path = `/storage/v1/object/closed-${count}/secret`
  await server.request('PUT', path, { body: 'secret' })
  for (let round = 0; round < 3; round++) expect((await server.request('GET', path)).status).toBe(200)
  await server.admin`
    insert into storage.objects (bucket_id, name, version, metadata)
    select ${bucket}, name, version, metadata from storage.objects where bucket_id = ${`closed-${count}`}`
  for (const on of [uncached, server]) expect(await read('secret', on)).toBe('404')
})
