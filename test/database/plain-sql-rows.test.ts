import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'

/** Rows that other programs insert with no columns but Supabase's: every endpoint answers about them sanely. */

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.admin`insert into storage.buckets (id, name) values (${bucket}, ${bucket})`
})
afterAll(async () => {
  const faults = server.logs.filter((line) => typeof line.status === 'number' && line.status >= 500)
  await server.close()
  expect(faults).toEqual([])
})

describe('a bucket of id and name alone', () => {
  it('is private, seen by the service, and takes uploads', async () => {
    const [row] = await server.admin`select * from storage.buckets where id = ${bucket}`
    expect(row).toMatchObject({ policy: 'private', public: false, owner_id: null, type: 'STANDARD' })
    expect(row?.uid).toMatch(/^[0-9a-f-]{36}$/)
    const seen = await json('GET', `/bucket/${bucket}?stats=true`)
    expect(seen).toMatchObject({
      id: bucket,
      owner: '',
      public: false,
      policy: 'private',
      file_size_limit: null,
      allowed_mime_types: null,
      file_count: 0,
      total_size: 0,
    })
    expect(await status('POST', `/object/${bucket}/a.txt`, 'x')).toBe(201)
    expect(await status('PUT', `/bucket/${bucket}`, { public: true })).toBe(200)
    expect((await server.request('GET', `/object/public/${bucket}/a.txt`, { token: null })).status).toBe(200)
    expect(await status('POST', `/bucket/${bucket}/empty`)).toBe(200)
    expect(await status('DELETE', `/bucket/${bucket}`)).toBe(200)
  })

  it('is found by its id, which need not be its name', async () => {
    const id = `id-${randomUUID()}`
    await server.admin`insert into storage.buckets (id, name, public) values (${id}, ${`named ${id}`}, true)`
    expect(await json('GET', `/bucket/${id}`)).toMatchObject({ id, name: `named ${id}`, policy: 'public' })
    expect(await status('GET', `/bucket/${encodeURIComponent(`named ${id}`)}`)).toBe(404)
    expect(await status('POST', `/object/${id}/a`, 'x')).toBe(201)
    expect(((await json('GET', `/bucket?search=NAMED`)) as unknown as unknown[]).length).toBe(1)
  })

  it('of an empty list of types takes every type', async () => {
    await server.admin`update storage.buckets set allowed_mime_types = '{}' where id = ${bucket}`
    expect(await status('POST', `/object/${bucket}/a.png`, 'x')).toBe(201)
  })
})

const version = '00000000-0000-4000-8000-000000000000'

const oddRows: { row: string; columns: Record<string, string | null> }[] = [
  { row: 'bucket and name alone', columns: {} },
  {
    row: 'an owner and Supabase’s metadata',
    columns: {
      owner: randomUUID(),
      version,
      metadata:
        '{"eTag":"\\"d41d8cd9\\"","size":3,"mimetype":"image/png","cacheControl":"max-age=3600","lastModified":"2024-02-03T04:05:06.789Z","contentLength":3,"httpStatusCode":200}',
    },
  },
  { row: 'a version that is no UUID', columns: { version: 'v1' } },
  { row: 'an empty version', columns: { version: '' } },
  { row: 'a version like a path', columns: { version: '../../../etc/passwd' } },
  {
    row: 'a version in capitals',
    columns: { version: version.toUpperCase().replace('8000', 'ABCD') },
  },
  { row: 'a UUID without bytes', columns: { version, metadata: '{"size": 10}' } },
  { row: 'metadata that is a text', columns: { metadata: '"text"' } },
  { row: 'metadata that is JSON null', columns: { metadata: 'null' } },
  { row: 'metadata that is a list', columns: { metadata: '[1]', version } },
  {
    row: 'metadata of wrong types',
    columns: {
      version,
      metadata:
        '{"eTag":5,"size":"10","mimetype":["x"],"cacheControl":{},"lastModified":{},"contentEncoding":7,"xRobotsTag":false}',
    },
  },
  {
    row: 'metadata that cannot be a header',
    columns: {
      version,
      metadata:
        '{"eTag":"a\\r\\nb","size":-1,"mimetype":"text/plain\\nX: y","cacheControl":"图","lastModified":"yesterday","contentEncoding":"\\u0001"}',
    },
  },
  { row: 'a size beyond all numbers', columns: { version, metadata: '{"size":1e400}' } },
  { row: 'user metadata that is a list', columns: { user_metadata: '[1,2]', version } },
  { row: 'no times', columns: { created_at: null, updated_at: null, last_accessed_at: null, version } },
  { row: 'times without end', columns: { created_at: '-infinity', updated_at: 'infinity', version } },
]

describe.each(oddRows)('an object row of $row', ({ columns }) => {
  const name = 'folder/file ünicode.png'
  const path = encodeURI(name)

  beforeEach(async () => {
    await server.admin`
      insert into storage.objects ${server.admin({ bucket_id: bucket, name, ...columns } as Record<string, string>)}`
  })

  it('is told of by info, HEAD and bucket statistics', async () => {
    expect(await json('GET', `/object/info/${bucket}/${path}`)).toMatchObject({ name, bucket_id: bucket })
    const head = await server.request('HEAD', `/object/${bucket}/${path}`)
    expect(head.status).toBe(200)
    expect(head.headers.get('etag')).toMatch(/^"[^"]+"$/)
    expect(Date.parse(head.headers.get('last-modified') ?? '')).not.toBeNaN()
    expect(await json('GET', `/bucket/${bucket}?stats=true`)).toMatchObject({ file_count: 1 })
    expect(await status('GET', '/bucket?stats=true')).toBe(200)
  })

  it('is downloaded as what it is: a row without bytes', async () => {
    for (const route of ['object', 'object/authenticated']) {
      const response = await server.request('GET', `/${route}/${bucket}/${path}`)
      expect(response.status).toBe(404)
      expect(await response.json()).toMatchObject({ code: 'NoSuchKey' })
    }
    await server.admin`update storage.buckets set public = true where id = ${bucket}`
    expect(await status('GET', `/object/public/${bucket}/${path}`)).toBe(404)
  })

  it.each(['name', 'created_at', 'updated_at', 'last_accessed_at'])(
    'is listed, sorted by %s',
    async (column) => {
      await server.admin`insert into storage.objects (bucket_id, name) values (${bucket}, 'folder/other')`
      for (const order of ['asc', 'desc']) {
        const sortBy = { column, order }
        const list = await json('POST', `/object/list/${bucket}`, { prefix: 'folder', sortBy })
        expect(sorted(list)).toEqual(['file ünicode.png', 'other'])
        if (column === 'last_accessed_at') continue
        const found: string[] = []
        let cursor: unknown
        do {
          const page = await json('POST', `/object/list-v2/${bucket}`, { limit: 1, sortBy, cursor })
          found.push(...sorted(page.objects))
          cursor = page.nextCursor
        } while (cursor !== undefined && found.length < 5)
        expect(found.sort()).toEqual([name, 'folder/other'])
      }
    },
  )

  it('is signed, and the link leads to a row without bytes', async () => {
    const { signedURL } = await json('POST', `/object/sign/${bucket}/${path}`, { expiresIn: 60 })
    const response = await server.request('GET', encodeURI(signedURL as string), { token: null })
    expect(response.status).toBe(404)
    const many = await json('POST', `/object/sign/${bucket}`, { expiresIn: 60, paths: [name, 'absent'] })
    expect(many).toMatchObject([
      { path: name, error: null },
      { path: 'absent', signedURL: null },
    ])
  })

  it('is moved, and not copied, since there are no bytes', async () => {
    const copy = { bucketId: bucket, sourceKey: name, destinationKey: 'copy' }
    expect(await status('POST', '/object/copy', copy)).toBe(404)
    expect(await status('POST', '/object/move', { ...copy, destinationKey: 'moved' })).toBe(200)
    expect(await names()).toEqual(['moved'])
    const other = `b-${randomUUID()}`
    await server.createBucket(other)
    const across = { bucketId: bucket, sourceKey: 'moved', destinationKey: 'x', destinationBucket: other }
    expect(await status('POST', '/object/move', across)).toBe(200)
    expect(await names()).toEqual([])
  })

  it('is overwritten by an upload, which then is served', async () => {
    expect(await status('POST', `/object/${bucket}/${path}`, 'new')).toBe(409)
    expect(await status('PUT', `/object/${bucket}/${path}`, 'new')).toBe(200)
    const response = await server.request('GET', `/object/${bucket}/${path}`)
    expect([response.status, await response.text()]).toEqual([200, 'new'])
    expect(response.headers.get('content-length')).toBe('3')
  })

  it.each([
    ['alone', 'DELETE', () => `/object/${bucket}/${path}`, undefined, 204],
    ['among others', 'DELETE', () => `/object/${bucket}`, { prefixes: ['absent', name] }, 200],
    ['with its bucket’s content', 'POST', () => `/bucket/${bucket}/empty`, undefined, 200],
  ])('is deleted %s', async (_, method, where, body, expected) => {
    expect(await status(method, where(), body)).toBe(expected)
    expect(await names()).toEqual([])
    expect(await server.admin`select version from storage.removals`).toEqual([])
    expect(await status('DELETE', `/bucket/${bucket}`)).toBe(200)
  })
})

describe('a row copied with SQL, so that two rows name the same bytes', () => {
  beforeEach(async () => {
    expect(await status('POST', `/object/${bucket}/a.txt`, 'shared')).toBe(201)
    await server.admin`
      insert into storage.objects (bucket_id, name, owner, metadata, version)
      select bucket_id, 'b.txt', owner, metadata, version from storage.objects where bucket_id = ${bucket}`
  })

  it('is served like the first', async () => {
    const response = await server.request('GET', `/object/${bucket}/b.txt`)
    expect([response.status, await response.text()]).toEqual([200, 'shared'])
  })

  it('is copied like the first', async () => {
    const copy = { bucketId: bucket, sourceKey: 'b.txt', destinationKey: 'c.txt' }
    expect(await status('POST', '/object/copy', copy)).toBe(200)
    expect(await (await server.request('GET', `/object/${bucket}/c.txt`)).text()).toBe('shared')
  })

  it('keeps the bytes when the first is deleted or overwritten', async () => {
    expect(await status('DELETE', `/object/${bucket}/a.txt`)).toBe(204)
    expect(await (await server.request('GET', `/object/${bucket}/b.txt`)).text()).toBe('shared')
    expect(await status('DELETE', `/object/${bucket}/b.txt`)).toBe(204)
    expect(await server.admin`select version from storage.removals`).toEqual([])
  })

  it.each(['the API', 'SQL'])('is still served after a move to another bucket by %s', async (way) => {
    const other = `b-${randomUUID()}`
    await server.createBucket(other)
    if (way === 'SQL') {
      await server.admin`
        update storage.objects set bucket_id = ${other} where bucket_id = ${bucket} and name = 'b.txt'`
    } else {
      const to = { sourceKey: 'b.txt', destinationBucket: other, destinationKey: 'b.txt' }
      expect(await status('POST', '/object/move', { bucketId: bucket, ...to })).toBe(200)
    }
    const response = await server.request('GET', `/object/${other}/b.txt`)
    expect([response.status, await response.text()]).toEqual([200, 'shared'])
    expect(await status('DELETE', `/object/${bucket}/a.txt`)).toBe(204)
    const [{ version } = { version: '' }] = await server.admin<{ version: string }[]>`
      select version from storage.objects where bucket_id = ${other}`
    expect(await stored(version)).toBe(true)
    expect(await status('DELETE', `/object/${other}/b.txt`)).toBe(204)
    expect(await stored(version)).toBe(false)
  })
})

/** The status of an answer, with a body that is read to its end. */
async function status(method: string, path: string, body?: string | object): Promise<number> {
  const response = await server.request(method, `/storage/v1${path}`, body === undefined ? {} : { body })
  await response.text()
  return response.status
}

async function json(method: string, path: string, body?: object): Promise<Record<string, unknown>> {
  const response = await server.request(method, `/storage/v1${path}`, body && { body })
  const answer = await response.json()
  expect([response.status, answer]).toEqual([200, answer])
  return answer as Record<string, unknown>
}

function sorted(entries: unknown): string[] {
  return (entries as { name: string }[]).map((entry) => entry.name).sort()
}

async function names(): Promise<string[]> {
  const rows = await server.admin<{ name: string }[]>`
    select name from storage.objects where bucket_id = ${bucket} order by name`
  return rows.map((row) => row.name)
}

async function stored(version: string): Promise<boolean> {
  return (await server.storedFiles()).some((file) => file.endsWith(version))
}
