import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { withPolicies } from '../support/policies.ts'
import { chunk, RawConnection, rawRequest } from '../support/raw-http.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { expectNoDrift, expectNothingWritten } from '../support/traces.ts'
import { besideInnocent } from './support/innocent.ts'

/*
 * Whoever means harm by uploads that go into the database: their bytes are in memory before a policy is asked, and all of it
 * is one call, which waits in the database for whatever a policy or another writer makes it wait for.
 */

/** As STORAGE_INLINE_SIZE is where nothing is said. */
const INLINE_SIZE = 16_384

let server: TestServer
let token: string
let stranger: string
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
  token = await server.token(randomUUID())
  stranger = await server.token(randomUUID())
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { policy: 'authenticated' })
  // From here on the server remembers its settings.
  expect((await put('known', 'known')).status).toBe(201)
})

const path = (name: string) => `/object/${bucket}/${name}`
const put = (name: string, body: string | Buffer, headers: Record<string, string> = {}) =>
  server.request('POST', path(name), { token, body, headers })
const over = { 'x-upsert': 'true' }

/** The head of an upload, whose body is sent by hand. */
const head = (name: string, framing: string, by = token) =>
  rawRequest('POST', path(name), [
    `Authorization: Bearer ${by}`,
    'Content-Type: text/plain',
    'X-Upsert: true',
    framing,
  ])

async function withConnection<T>(work: (connection: RawConnection) => Promise<T>): Promise<T> {
  const connection = await RawConnection.open(server.url)
  return await work(connection).finally(() => connection.abort())
}

async function bytesOf(name: string): Promise<string> {
  const response = await server.request('GET', path(name))
  return response.ok ? await response.text() : String(response.status)
}

/** Whether the bytes of an object are in the database. */
async function isInline(name: string): Promise<boolean> {
  const rows = await server.admin`
    select from storage.objects o join storage.inline_bytes i on i.version::text = o.version
    where o.bucket_id = ${bucket} and o.name = ${name}`
  return rows.length > 0
}

describe('a body that comes as it likes', () => {
  const bytes = 'x'.repeat(INLINE_SIZE)

  it('of a stranger is refused before its last byte, and leaves nothing', async () => {
    await put('taken', 'taken')
    await expectNothingWritten(server, () =>
      withConnection(async (connection) => {
        await connection.send(head('taken', `Content-Length: ${INLINE_SIZE}`, stranger), bytes.slice(1))
        expect((await connection.response()).status).toBe(403)
      }),
    )
    expect(await bytesOf('taken')).toBe('taken')
  })

  it('of who may write is waited for, to its last byte, and stored as one that came at once', async () => {
    await withConnection(async (connection) => {
      await connection.send(head('slow', `Content-Length: ${INLINE_SIZE}`))
      for (let sent = 0; sent < INLINE_SIZE; sent += 4096) await connection.send(bytes.slice(0, 4096))
      expect((await connection.response()).status).toBe(201)
    })
    expect(await bytesOf('slow')).toBe(bytes)
    expect(await isInline('slow')).toBe(true)
    await expectNoDrift(server)
  })

  it('that ends early, or says another length, leaves nothing, or what it said', async () => {
    await expectNothingWritten(server, () =>
      withConnection(async (connection) => {
        await connection.send(head('short', `Content-Length: ${INLINE_SIZE}`), bytes.slice(1))
      }),
    )
    await withConnection(async (connection) => {
      await connection.send(head('long', 'Content-Length: 4'), 'four and more than that')
      expect((await connection.response()).status).toBe(201)
    })
    expect(await bytesOf('long')).toBe('four')
    await expectNoDrift(server)
  })

  it.each([
    ['known', false],
    ['changed a moment ago', true],
  ])(
    'of one byte more than the bucket takes is refused, however it comes; the limit is %s',
    async (_, isNew) => {
      const limit = (bytes: number) =>
        server.admin`update storage.buckets set file_size_limit = ${bytes} where id = ${bucket}`
      await limit(INLINE_SIZE)
      const more = INLINE_SIZE - 1
      const lower = async () => {
        if (!isNew) return
        await limit(INLINE_SIZE)
        expect((await put('known', bytes, over)).status).toBe(201)
        await limit(more)
      }
      const most = isNew ? more : INLINE_SIZE
      const whole = 'x'.repeat(most + 1)
      for (const send of [
        (connection: RawConnection) => connection.send(head('a', `Content-Length: ${most + 1}`), whole),
        (connection: RawConnection) =>
          connection.send(head('a', 'Transfer-Encoding: chunked'), chunk(whole), chunk('')),
      ]) {
        await lower()
        await withConnection(async (connection) => {
          await send(connection)
          expect((await connection.response()).status).toBe(413)
        })
      }
      expect((await put('b', 'x'.repeat(most))).status).toBe(201)
      expect(await bytesOf('a')).toBe('404')
      await expectNoDrift(server)
    },
  )

  it('under thousands of headers is stored, and policies see them', async () => {
    await server.createBucket(`${bucket}-p`)
    const policy = `create policy "headers" on storage.objects for insert to authenticated
      with check (current_setting('request.headers')::json ->> 'x-last' = 'here')`
    await withPolicies(server.admin, policy, async () => {
      const many = Array.from({ length: 3000 }, (_, i) => `x-${i}: ${i}`)
      for (const [last, status] of [
        ['here', 201],
        ['gone', 403],
      ] as const) {
        await withConnection(async (connection) => {
          const headers = [`Authorization: Bearer ${token}`, ...many, `X-Last: ${last}`]
          await connection.send(rawRequest('POST', `/object/${bucket}-p/${last}`, headers, 'small'))
          expect((await connection.response()).status).toBe(status)
        })
      }
    })
    await expectNoDrift(server)
  })
})

describe('many at once', () => {
  const CLIENTS = 32
  const TURNS = 6

  it('who replace one object: each is answered, one stays, and nothing of the others', async () => {
    const bodies = Array.from({ length: CLIENTS * TURNS }, () => randomBytes(1000).toString('hex'))
    await besideInnocent(server, async () => {
      const client = async (_: unknown, number: number) => {
        for (let turn = 0; turn < TURNS; turn++) {
          const response = await put('one', bodies[number * TURNS + turn] ?? '', over)
          expect([response.status, await response.text()]).toEqual([
            expect.toBeOneOf([200, 201]),
            expect.any(String),
          ])
        }
      }
      await Promise.all(Array.from({ length: CLIENTS }, client))
    })
    expect(bodies).toContain(await bytesOf('one'))
    await expectNoDrift(server)
  })

  it('who store, replace by a file, delete, copy and move one object: no byte is left over, or missing', async () => {
    const answers = async (asked: Promise<Response>) => {
      const response = await asked
      await response.arrayBuffer()
      expect(response.status).toBeLessThan(500)
    }
    const ways = [
      () => put('one', 'small', over),
      () => put('one', 'x'.repeat(20_000), over),
      () => put('one', 'judged', { ...over, 'if-match': '*' }),
      () => server.request('DELETE', path('one'), { token }),
      () =>
        server.request('POST', '/object/copy', {
          token,
          headers: over,
          body: { bucketId: bucket, sourceKey: 'one', destinationKey: 'two' },
        }),
      () =>
        server.request('POST', '/object/move', {
          token,
          body: { bucketId: bucket, sourceKey: 'two', destinationKey: 'one' },
        }),
    ]
    await besideInnocent(server, async () => {
      const client = async (_: unknown, number: number) => {
        for (let turn = 0; turn < TURNS; turn++) {
          const way = ways[(number + turn) % ways.length]
          if (way) await answers(way())
        }
      }
      await Promise.all(Array.from({ length: CLIENTS }, client))
    })
    await expectNoDrift(server)
  })

  it('whose policies take locks of each other: some are told to try again, and nobody else notices', async () => {
    const both = `${bucket}-p`
    await server.createBucket(both)
    await server.admin.unsafe(`
      create function public.locks(name text) returns boolean language plpgsql as $$ begin
        perform pg_advisory_xact_lock(ascii(left(name, 1)));
        perform pg_sleep(0.05);
        perform pg_advisory_xact_lock(ascii(right(name, 1)));
        return true;
      end $$`)
    const policy = `create policy "locks" on storage.objects for insert to authenticated
      with check (bucket_id = '${both}' and public.locks(name))`
    try {
      await withPolicies(server.admin, policy, () =>
        besideInnocent(server, async () => {
          const names = ['a/b', 'b/a'].flatMap((ends) =>
            Array.from({ length: 2 }, (_, i) => `${ends[0]}/${i}/${ends[2]}`),
          )
          const answers = await Promise.all(
            names.map(async (name) => {
              const response = await server.request('POST', `/object/${both}/${name}`, { token, body: name })
              await response.arrayBuffer()
              return response.status
            }),
          )
          expect(answers.filter((status) => status !== 201 && status !== 409)).toEqual([])
          expect(answers).toContain(201)
        }),
      )
    } finally {
      await server.admin`drop function public.locks(text) cascade`
    }
    await expectNoDrift(server)
  })
})
