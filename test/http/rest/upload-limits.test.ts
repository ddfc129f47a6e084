import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { field, file, form, MULTIPART } from '../../support/multipart.ts'
import { chunk, exchange, RawConnection, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift, expectNothingWritten } from '../../support/traces.ts'

let server: TestServer
let auth: string

const GLOBAL_LIMIT = 2_000_000

beforeAll(async () => {
  server = await startTestServer({ STORAGE_MAX_FILE_SIZE: '2MB' })
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('global')
  await server.createBucket('tiny', { file_size_limit: 10 })
  await server.createBucket('medium', { file_size_limit: '500KB' })
  await server.createBucket('pictures', { allowed_mime_types: ['image/*', 'application/pdf'] })
})

afterAll(async () => {
  await expectNoDrift(server)
  await server.close()
})

const TOO_LARGE = {
  statusCode: '413',
  error: 'Payload too large',
  code: 'EntityTooLarge',
  message: 'The object exceeded the maximum allowed size',
}

describe.each([
  ['tiny', 10],
  ['medium', 500_000],
  ['global', GLOBAL_LIMIT],
])('a bucket (%s) that takes %i bytes', (bucket, limit) => {
  const target = (name: string) => `/object/${bucket}/${name}`
  const chunked = (name: string, size: number) =>
    Buffer.concat([
      rawRequest('POST', target(name), [auth, 'Transfer-Encoding: chunked']),
      chunk(Buffer.alloc(size)),
      chunk(''),
    ])
  const multipart = (name: string, size: number) =>
    rawRequest('POST', target(name), [auth, MULTIPART], form(file(Buffer.alloc(size))))

  it('takes exactly that, in every form', async () => {
    for (const request of [
      rawRequest('POST', target('raw'), [auth], Buffer.alloc(limit)),
      chunked('chunked', limit),
      multipart('form', limit),
    ]) {
      const response = await exchange(server.url, request)
      expect([response.status, response.json().size]).toEqual([201, limit])
    }
  })

  it('refuses one byte more when it is declared, before a byte is read', async () => {
    await expectNothingWritten(server, async () => {
      const connection = await RawConnection.open(server.url)
      await connection.send(rawRequest('POST', target('more'), [auth, `Content-Length: ${limit + 1}`]))
      const response = await connection.response()
      expect([response.status, response.json()]).toEqual([413, TOO_LARGE])
      connection.abort()
    })
  })

  it('refuses it with Expect: 100-continue, and never says to go on', async () => {
    await expectNothingWritten(server, async () => {
      const connection = await RawConnection.open(server.url)
      const headers = [auth, `Content-Length: ${limit + 1}`, 'Expect: 100-continue']
      await connection.send(rawRequest('POST', target('more'), headers))
      expect((await connection.response()).status).toBe(413)
      connection.abort()
    })
  })

  it('refuses it while it streams, when it is not declared', async () => {
    await expectNothingWritten(server, async () => {
      for (const request of [chunked('more', limit + 1), multipart('more', limit + 1)]) {
        const response = await exchange(server.url, request)
        expect([response.status, response.json()]).toEqual([413, TOO_LARGE])
      }
    })
  })

  it('answers while the client is still sending, without waiting for the end', async () => {
    await expectNothingWritten(server, async () => {
      const connection = await RawConnection.open(server.url)
      await connection.send(
        rawRequest('POST', target('more'), [auth, 'Transfer-Encoding: chunked']),
        chunk(Buffer.alloc(limit + 1)),
      )
      const response = await connection.response()
      expect([response.status, response.complete, response.json()]).toEqual([413, true, TOO_LARGE])
      connection.abort()
    })
  })
})

it('a client that sends on regardless, far past the limit, still gets the answer', async () => {
  const bytes = Buffer.alloc(20_000_000)
  const target = '/object/medium/more'
  await expectNothingWritten(server, async () => {
    for (const request of [
      rawRequest('POST', target, [auth], bytes),
      rawRequest('POST', target, [auth, MULTIPART], form(file(bytes))),
      Buffer.concat([
        rawRequest('POST', target, [auth, 'Transfer-Encoding: chunked']),
        chunk(bytes),
        chunk(''),
      ]),
    ]) {
      const response = await exchange(server.url, request)
      expect([response.status, response.complete, response.json()]).toEqual([413, true, TOO_LARGE])
    }
  })
})

describe('a body of lies', () => {
  it.each(['18446744073709551615', '9007199254740993', '1000000000000000'])(
    'a declared length of %s: 413, before a byte is read',
    async (length) => {
      const response = await expectNothingWritten(server, () =>
        exchange(server.url, rawRequest('POST', '/object/global/a', [auth, `Content-Length: ${length}`])),
      )
      expect(response.status).toBe(413)
    },
  )

  it('Expect: 100-continue for an upload that is welcome: told to go on, then stored', async () => {
    for (const size of [100, 400_000]) {
      const connection = await RawConnection.open(server.url)
      const headers = [auth, `Content-Length: ${size}`, 'Expect: 100-continue']
      await connection.send(rawRequest('PUT', '/object/global/asked', headers))
      expect((await connection.response()).status).toBe(100)
      await connection.send(Buffer.alloc(size))
      const response = await connection.response()
      expect([201, 200]).toContain(response.status)
      expect(response.json().size).toBe(size)
      connection.abort()
    }
  })

  it.each([
    ['no token', '/object/global/x', [], 401],
    ['no such bucket', '/object/nowhere/x', ['auth'], 404],
    ['an illegal name', '/object/global/a%00', ['auth'], 400],
    ['a type that is refused', '/object/pictures/x', ['auth', 'Content-Type: text/css'], 415],
    ['no such route', '/nothing', ['auth'], 404],
  ])('Expect: 100-continue with %s: refused, and never told to go on', async (_what, path, lines, status) => {
    const headers = [...lines.map((line) => (line === 'auth' ? auth : line)), 'Expect: 100-continue']
    const connection = await RawConnection.open(server.url)
    await connection.send(rawRequest('POST', path, [...headers, 'Content-Length: 100000']))
    expect((await connection.response()).status).toBe(status)
    connection.abort()
  })
})

describe('limits that are set', () => {
  it.each([
    ['5MB', 413],
    ['1.5mb', 1_500_000],
    ['20 KB', 20_000],
    ['700B', 700],
    [12_345, 12_345],
    [0, null],
    [null, null],
    ['', null],
    ['5 bananas', 400],
    ['-5MB', 400],
    ['NaN', 400],
    ['0.0001B', 400],
  ])('file_size_limit %j gives %j', async (limit, result) => {
    const name = `limit-${String(limit).replaceAll(/\W/g, '-')}-x`
    const body = { name, file_size_limit: limit }
    const response = await server.request('POST', '/bucket', { body })
    if (result === 400 || result === 413) return expect(response.status).toBe(result)
    const bucket = (await (await server.request('GET', `/bucket/${name}`)).json()) as Record<string, unknown>
    expect([bucket.file_size_limit, bucket.max_file_size]).toEqual([result, result])
  })

  it('max_file_size is the same setting, and a change counts for the next upload', async () => {
    await server.createBucket('changing', { max_file_size: 100 })
    const put = (size: number) => server.request('PUT', '/object/changing/a', { body: 'x'.repeat(size) })
    expect((await put(101)).status).toBe(413)
    await server.request('PATCH', '/bucket/changing', { body: { max_file_size: 200 } })
    expect((await put(101)).status).toBe(201)
    await server.request('PUT', '/bucket/changing', { body: { file_size_limit: '50B' } })
    expect((await put(51)).status).toBe(413)
  })
})

describe('types that a bucket takes', () => {
  it.each<[what: string, name: string, headers: string[], status: number]>([
    ['one that a wildcard names', 'a', ['Content-Type: image/x-anything'], 201],
    ['one that is named', 'a', ['Content-Type: application/pdf'], 201],
    ['in another case', 'a', ['Content-Type: Application/PDF'], 201],
    ['with parameters', 'a', ['Content-Type: image/svg+xml; charset=utf-8'], 201],
    ['guessed from the name', 'a.png', [], 201],
    ['one that is not named', 'a', ['Content-Type: text/plain'], 415],
    ['one that only begins alike', 'a', ['Content-Type: imagery/png'], 415],
    ['one that hides another in a parameter', 'a', ['Content-Type: text/html; x=image/png'], 415],
    ['guessed from the name, and refused', 'a.html', [], 415],
    ['none, and none to be guessed', 'a', [], 415],
    [
      'the marker of an empty folder, whatever its type',
      'f/.emptyFolderPlaceholder',
      ['Content-Type: text/x'],
      413,
    ],
  ])('%s', async (what, name, headers, status) => {
    const path = `/object/pictures/${encodeURIComponent(what)}/${name}`
    for (const size of [5, 400_000]) {
      const body = Buffer.alloc(size)
      const response = await exchange(server.url, rawRequest('PUT', path, [auth, ...headers], body))
      expect(response.status).toBe(status === 201 && size > 5 ? 200 : status)
    }
  })

  it('the marker of an empty folder has no bytes, and any type', async () => {
    const path = '/object/pictures/folder/.emptyFolderPlaceholder'
    const request = rawRequest('POST', path, [auth, 'Content-Type: text/plain', 'Content-Length: 0'])
    expect((await exchange(server.url, request)).status).toBe(201)
    const inForm = rawRequest('PUT', path, [auth, MULTIPART], form(file('')))
    expect((await exchange(server.url, inForm)).status).toBe(200)
  })

  it('a form’s type counts, wherever it stands, and a refusal leaves nothing', async () => {
    await expectNothingWritten(server, async () => {
      for (const size of [5, 400_000]) {
        const bytes = Buffer.alloc(size)
        for (const body of [
          form(file(bytes, 'text/plain')),
          form(field('contentType', 'text/css'), file(bytes, 'image/png')),
          form(file(bytes, 'image/png'), field('contentType', 'text/css')),
        ]) {
          const response = await exchange(
            server.url,
            rawRequest('POST', '/object/pictures/x', [auth, MULTIPART], body),
          )
          expect([response.status, response.json().code]).toEqual([415, 'InvalidMimeType'])
        }
      }
    })
  })
})
