import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { chunk, RawConnection, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { open, put, sign, tokenOf } from '../../support/signed.ts'
import { until } from '../../support/wait.ts'

const SIGNING_SECRET = 'the signing secret of these tests, long enough'
const OPAQUE = 'sb_secret_which-nobody-may-read'

let server: TestServer
let user: string

beforeAll(async () => {
  server = await startTestServer({ STORAGE_SIGNING_SECRET: SIGNING_SECRET, STORAGE_SECRET_KEYS: OPAQUE })
  await server.createBucket('docs', { policy: 'authenticated' })
  await put(server, 'docs/a.txt', 'hello')
  await put(server, 'docs/large.bin', 'x'.repeat(30_000_000))
  user = await server.token('user-1')
})
afterAll(() => server.close())
beforeEach(() => void server.logs.splice(0))

/** The lines about a request, once there is one; another would come at the same moment. */
async function linesOf(requestId: string): Promise<Record<string, unknown>[]> {
  const lines = () => server.logs.filter((line) => line.requestId === requestId)
  await until(() => lines().some(({ msg }) => msg === 'request'), `request ${requestId} is in the log`)
  return lines()
}

async function ask(method: string, path: string, init: Parameters<TestServer['request']>[2] = {}) {
  const id = randomUUID()
  const response = await server.request(method, path, {
    token: user,
    ...init,
    headers: { 'x-request-id': id, ...init.headers },
  })
  await response.arrayBuffer()
  const [line, ...others] = await linesOf(id)
  expect(others).toEqual([])
  return { response, line: line ?? {} }
}

describe('a request', () => {
  it.each<[method: string, path: string, body: string | object | null, line: Record<string, unknown>]>([
    [
      'PUT',
      '/object/docs/new%20file.txt',
      'hello',
      {
        operation: 'storage.object.upload_update',
        bucket: 'docs',
        path: 'new file.txt',
        size: 5,
        status: 201,
      },
    ],
    [
      'POST',
      '/object/docs/a.txt',
      'x',
      { operation: 'storage.object.upload', bucket: 'docs', path: 'a.txt', status: 409 },
    ],
    [
      'GET',
      '/object/docs/a.txt?download=x',
      null,
      { operation: 'storage.object.get_authenticated', bucket: 'docs', path: 'a.txt', size: 5, status: 200 },
    ],
    [
      'GET',
      '/storage/v1/object/docs/large.bin',
      null,
      {
        operation: 'storage.object.get_authenticated',
        bucket: 'docs',
        path: 'large.bin',
        size: 30_000_000,
        status: 200,
      },
    ],
    [
      'HEAD',
      '/object/docs/a.txt',
      null,
      { operation: 'object.head_authenticated_info', bucket: 'docs', path: 'a.txt', size: 5, status: 200 },
    ],
    [
      'GET',
      '/object/info/docs/a.txt',
      null,
      { operation: 'object.get_authenticated_info', bucket: 'docs', path: 'a.txt', status: 200 },
    ],
    [
      'POST',
      '/object/list/docs',
      { prefix: '' },
      { operation: 'storage.object.list', bucket: 'docs', status: 200 },
    ],
    [
      'POST',
      '/object/sign/docs/a.txt',
      { expiresIn: 60 },
      { operation: 'storage.object.sign', bucket: 'docs', path: 'a.txt', status: 200 },
    ],
    [
      'POST',
      '/object/sign/docs',
      { expiresIn: 60, paths: ['a.txt'] },
      { operation: 'storage.object.sign_many', bucket: 'docs', status: 200 },
    ],
    [
      'POST',
      '/object/move',
      { bucketId: 'docs', sourceKey: 'nope', destinationKey: 'b' },
      { operation: 'storage.object.move', bucket: 'docs', path: 'nope', status: 404, code: 'NoSuchKey' },
    ],
    [
      'DELETE',
      '/object/docs/absent',
      null,
      { operation: 'storage.object.delete', bucket: 'docs', path: 'absent', status: 404 },
    ],
    ['GET', '/bucket/docs', null, { operation: 'storage.bucket.get', bucket: 'docs', status: 200 }],
    ['GET', '/nowhere?token=x', null, { url: '/nowhere', status: 404 }],
  ])(
    '%s %s has one line that says what it was about, and how it ended',
    async (method, path, body, expected) => {
      const { response, line } = await ask(method, path, { body })
      expect(line).toMatchObject({ ...expected, method, level: 30, msg: 'request' })
      expect(line.status).toBe(response.status)
      expect(line.duration_ms).toEqual(expect.any(Number))
      expect(line.time).toEqual(expect.any(Number))
      expect(line).not.toHaveProperty('aborted')
      if (response.status < 400) expect(line).not.toHaveProperty('code')
      if (expected.url === undefined) expect(line).toMatchObject({ user_id: 'user-1', role: 'authenticated' })
    },
  )

  it('without a user, or by a key that is none, has no user in its line', async () => {
    const service = await ask('GET', '/bucket/docs', { token: OPAQUE })
    expect(service.line).toMatchObject({ role: 'service_role', status: 200 })
    expect(service.line).not.toHaveProperty('user_id')
    const refused = await ask('GET', '/bucket/docs', { token: 'garbage' })
    expect(refused.line).toMatchObject({ operation: 'storage.bucket.get', status: 401 })
    expect(refused.line).not.toHaveProperty('role')
  })

  it.each(['abc', '7f3c:1.2_x-Y', 'a'.repeat(100)])(
    'keeps the id %s that a proxy has given it',
    async (id) => {
      const { headers } = await open(server, '/status', { headers: { 'x-request-id': id } })
      expect(headers.get('x-request-id')).toBe(id)
      expect(await linesOf(id)).toHaveLength(1)
    },
  )

  it.each(['', 'a b', 'a'.repeat(101), '{"a":1}', 'ü'])('gets an id of its own instead of %j', async (id) => {
    const one = (await open(server, '/status', { headers: { 'x-request-id': id } })).headers.get(
      'x-request-id',
    )
    const two = (await open(server, '/status', { headers: { 'x-request-id': id } })).headers.get(
      'x-request-id',
    )
    expect(one).toMatch(/^[0-9a-f-]{36}$/)
    expect(two).not.toBe(one)
    expect(await linesOf(String(one))).toHaveLength(1)
  })

  it('names its id to the client in an error of ours, under which the log has the cause', async () => {
    await server.admin.unsafe(
      `create policy broken on storage.objects as restrictive for select using (1 / (length(name) - length(name)) = 1)`,
    )
    const id = randomUUID()
    const response = await server.request('GET', '/object/docs/a.txt', {
      token: user,
      headers: { 'x-request-id': id },
    })
    await server.admin.unsafe('drop policy broken on storage.objects')

    expect(response.status).toBe(500)
    expect(((await response.json()) as { message: string }).message).toContain(id)
    const [fault, line] = await linesOf(id)
    expect(fault).toMatchObject({ level: 50, code: 'DatabaseError', err: { message: 'division by zero' } })
    expect(line).toMatchObject({ level: 30, status: 500, bucket: 'docs', path: 'a.txt' })
  })
})

describe('a request whose client goes away', () => {
  it('in the middle of its upload is marked, and has no status that was never sent', async () => {
    const id = randomUUID()
    const connection = await RawConnection.open(server.url)
    const headers = ['Transfer-Encoding: chunked', `Authorization: Bearer ${user}`, `X-Request-Id: ${id}`]
    await connection.send(rawRequest('PUT', '/object/docs/broken.bin', headers), chunk('x'.repeat(100_000)))
    await until(
      async () => (await server.admin`select from storage.uploads`).length === 1,
      'the upload has begun',
    )
    connection.abort()

    const [line, ...others] = await linesOf(id)
    expect(line).toMatchObject({
      aborted: true,
      status: 499,
      bucket: 'docs',
      path: 'broken.bin',
      user_id: 'user-1',
    })
    expect(others).toEqual([])
    await until(
      async () => (await server.admin`select from storage.uploads`).length === 0,
      'the upload is undone',
    )
  })

  it('in the middle of its download is marked', async () => {
    const id = randomUUID()
    const connection = await RawConnection.open(server.url)
    await connection.send(
      rawRequest('GET', '/object/docs/large.bin', [`Authorization: Bearer ${user}`, `X-Request-Id: ${id}`]),
    )
    await connection.firstBytes()
    connection.abort()

    const [line, ...others] = await linesOf(id)
    expect(line).toMatchObject({ aborted: true, status: 200, path: 'large.bin', size: 30_000_000 })
    expect(others).toEqual([])
  })
})

describe('a path', () => {
  it.each([
    ['of one', 'eyJ'.repeat(20_000)],
    ['with many tokens cut off', 'eyJa.'.repeat(10_000)],
    ['with many words', 'eyJ-.'.repeat(2000) + 'eyJ%'.repeat(5000)],
  ])('that is very long %s is cut off in the log', async (_, path) => {
    const { line } = await ask('GET', `/${path}`)
    expect(String(line.url).length).toBeLessThan(2100)
    expect(line.url).not.toContain('eyJeyJ')
    const { line: known } = await ask('GET', `/object/docs/${path.replaceAll('%', '%25')}`)
    expect(String(known.path).length).toBeLessThan(2100)
  })

  it.each(['/', '/a%3Dtoken%3D', '/a.b.', '/x'])(
    'with a token behind %j hides it, in whichever of its letters it is cut off',
    async (before) => {
      const parts = user.split('.')
      for (const fill of [
        0,
        2048 - before.length - 20,
        2048 - before.length - 60,
        2047 - before.length - user.length,
      ]) {
        const { line } = await ask('GET', `/${'f'.repeat(Math.max(0, fill - 1))}${before}${user}`)
        expect(line.url).toContain('[hidden]')
        for (const part of parts) expect(line.url).not.toContain(part.slice(0, 15))
      }
    },
  )

  it('as long as a name may be is in the log as it is', async () => {
    const path = `${'heyJude/'.repeat(120)}a.b.c`
    expect((await ask('GET', `/object/docs/${path}`)).line.path).toBe(path)
  })
})

describe('the log', () => {
  it('never holds a token, a key, a secret or a signature, whatever is asked and however it fails', async () => {
    const signed = tokenOf(await sign(server, 'docs/a.txt'))
    const upload = await server.request('POST', '/object/upload/sign/docs/signed.txt', { token: user })
    const uploadToken = ((await upload.json()) as { token: string }).token
    const expired = tokenOf(await sign(server, 'docs/a.txt')).replace(/.$/, (last) =>
      last === 'A' ? 'Q' : 'A',
    )
    const { anonKey, serviceKey, jwtSecret } = server.keys
    const logins = [anonKey, serviceKey, user, OPAQUE, `${user}x`, 'hunter2-which-is-no-token']
    await server.admin.unsafe(`create policy broken on storage.objects as restrictive for all to authenticated
      using (1 / (length(name) - length(name)) = 1) with check (1 / (length(name) - length(name)) = 1)`)

    for (const token of logins) {
      const both = { token, headers: { apikey: token, cookie: `session=${token}`, 'x-signature': token } }
      for (const [method, path, body] of [
        ['GET', '/bucket'],
        ['GET', `/bucket?apikey=${token}`],
        ['POST', '/bucket', { name: 'docs' }],
        ['POST', '/bucket', `{"token":"${token}"`],
        ['GET', `/object/docs/a.txt?apikey=${token}`],
        ['GET', `/object/docs/absent?access_token=${token}`],
        ['PUT', '/object/docs/b.txt', 'body'],
        ['PUT', '/object/docs/b%00.txt', token],
        ['POST', '/object/docs/a.txt', 'body'],
        ['POST', '/object/list/docs', { prefix: '' }],
        ['POST', '/object/list/docs', { prefix: 5, token }],
        ['POST', '/object/sign/docs/a.txt', { expiresIn: 60 }],
        ['POST', '/object/sign/docs', { expiresIn: 60, paths: ['a.txt', 'absent'] }],
        ['POST', '/object/upload/sign/docs/c.txt', {}],
        ['POST', '/object/copy', { bucketId: 'docs', sourceKey: 'a.txt', destinationKey: 'd.txt' }],
        ['DELETE', '/object/docs/b.txt'],
        ['PROPFIND', '/object/docs/a.txt'],
        ['GET', `/nowhere?token=${token}`],
      ] as [string, string, (string | object)?][]) {
        await (await server.request(method, path, { ...both, body: body ?? null })).arrayBuffer()
      }
      const form = new FormData()
      form.append('', new Blob(['form']), 'a.txt')
      await open(server, '/object/docs/form.txt', {
        method: 'POST',
        body: form,
        headers: { authorization: token },
      })
      const raw = await RawConnection.open(server.url)
      await raw.send(
        `GET /object/docs/a.txt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nBad header\r\n\r\n`,
      )
      expect((await raw.response()).status).toBe(400)
      await raw.rest()
    }
    await server.admin.unsafe('drop policy broken on storage.objects')
    for (const token of [signed, expired, uploadToken, serviceKey]) {
      for (const path of [
        `/object/sign/docs/a.txt?token=${token}`,
        `/object/sign/docs/absent?download=x&token=${token}`,
        `/object/docs/a.txt?token=${token}`,
        `/object/public/docs/a.txt?token=${token}`,
        `/object/info/docs/a.txt?token=${token}`,
        `/object/sign/docs/a?b.txt?token=${token}`,
        // A client that encodes one time too often.
        `/object/sign/docs/a.txt%3Ftoken=${token}`,
        `/object/public/docs/a.txt%3Ftoken%3D${token}`,
        `/nowhere/${token}`,
      ]) {
        for (const method of ['GET', 'HEAD']) await open(server, path, { method })
      }
      await open(server, `/object/upload/sign/docs/signed.txt?token=${token}`, { method: 'PUT', body: 'x' })
      await open(server, `/object/upload/sign/docs/other.txt?token=${token}`, { method: 'PUT', body: 'x' })
    }

    const lastId = randomUUID()
    await open(server, '/status', { headers: { 'x-request-id': lastId } })
    await linesOf(lastId)
    const everything = JSON.stringify(server.logs)
    expect(server.logs.filter(({ msg }) => msg === 'request').length).toBeGreaterThan(150)
    expect(server.logs.filter(({ level }) => level === 50).length).toBeGreaterThan(0)
    const signatures = [...logins, signed, expired, uploadToken].flatMap((token) => token.split('.')[2] ?? [])
    for (const secret of [...logins, ...signatures, signed, uploadToken, jwtSecret, SIGNING_SECRET]) {
      expect(everything.includes(secret), `the log holds ${secret}`).toBe(false)
    }
  })
})
