import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { RawConnection, rawRequest } from '../support/raw-http.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

let server: TestServer
let auth: string

beforeAll(async () => {
  server = await startTestServer()
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box')
})

afterAll(() => server.close())

describe('routes and methods', () => {
  it.each([
    ['GET', '/nothing'],
    ['POST', '/object'],
    ['GET', '/object/'],
    ['GET', '/objects/box/a.txt'],
    ['GET', '/bucket/box/full'],
    ['DELETE', '/bucket/box/a/b'],
    ['GET', '/health/dead'],
    ['PROPFIND', '/nothing'],
  ])('%s %s: 404, and the message names both', async (method, path) => {
    const response = await server.request(method, path)
    expect(response.status).toBe(404)
    expect(await response.json()).toEqual({
      statusCode: '404',
      error: 'Not Found',
      code: 'InvalidRequest',
      message: expect.stringContaining(method),
    })
  })

  it.each([
    ['DELETE', '/bucket', 'GET, HEAD, POST, OPTIONS'],
    ['POST', '/bucket/box', 'GET, HEAD, PUT, PATCH, DELETE, OPTIONS'],
    ['GET', '/bucket/box/empty', 'POST, OPTIONS'],
    ['GET', '/object/box', 'POST, DELETE, OPTIONS'],
    ['PUT', '/object/box', 'POST, DELETE, OPTIONS'],
    ['GET', '/object/move', 'POST, DELETE, OPTIONS'],
    ['PUT', '/object/copy', 'POST, DELETE, OPTIONS'],
    ['PROPFIND', '/object/list/box', 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'],
    ['PROPFIND', '/object/sign/box/a.txt', 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'],
    ['PROPFIND', '/object/upload/sign/box/a.txt', 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'],
    ['PROPFIND', '/object/box/a.txt', 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'],
    ['POST', '/status', 'GET, HEAD, OPTIONS'],
    ['PUT', '/version', 'GET, HEAD, OPTIONS'],
    ['DELETE', '/health', 'GET, HEAD, OPTIONS'],
    ['POST', '/health/live', 'GET, HEAD, OPTIONS'],
    ['POST', '/health/ready', 'GET, HEAD, OPTIONS'],
  ])('%s %s: 405, and what is allowed instead', async (method, path, allow) => {
    const response = await server.request(method, `/storage/v1${path}`)
    expect([response.status, response.headers.get('allow')]).toEqual([405, allow])
    expect(await response.json()).toMatchObject({ statusCode: '405', code: 'InvalidRequest' })
  })

  it('TRACE: 405, and the request with its token is not sent back', async () => {
    const connection = await RawConnection.open(server.url)
    await connection.send(rawRequest('TRACE', '/object/box/a.txt', [auth]))
    const response = await connection.response()
    expect(response.status).toBe(405)
    expect(response.body.toString()).not.toContain(server.keys.serviceKey)
    connection.abort()
  })
})

describe('what every error has', () => {
  it.each([
    ['GET', '/nothing', 404],
    ['PATCH', '/status', 405],
    ['GET', '/object/box/missing.txt', 404],
    ['POST', '/object/box/a%00', 400],
    ['POST', '/object/nowhere/a.txt', 404],
    ['GET', '/bucket/nowhere', 404],
    ['POST', '/bucket', 400],
    ['GET', '/object/sign/box/a.txt', 400],
  ])('%s %s: four texts, JSON, no guessing of types, the id of the request', async (method, path, status) => {
    const response = await server.request(method, path, { headers: { 'x-request-id': 'my-own-id.1' } })
    const body = (await response.json()) as Record<string, unknown>
    expect(response.status).toBe(status)
    expect(Object.keys(body).sort()).toEqual(['code', 'error', 'message', 'statusCode'])
    expect(Object.values(body).every((value) => typeof value === 'string' && value !== '')).toBe(true)
    expect(body.statusCode).toBe(String(status))
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    expect(response.headers.get('x-request-id')).toBe('my-own-id.1')
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
  })

  it.each([
    ['/object/box/missing.txt', 404],
    ['/object/nowhere/a.txt', 404],
    ['/object/public/box/a.txt', 404],
    ['/object/info/box/missing.txt', 404],
    ['/object/box/..', 404],
    ['/object/box/%ff', 400],
    ['/object/sign/box/a.txt?token=x', 403],
    ['/object/authenticated/box/a.txt', 401, 'Authorization: Bearer x.y.z'],
    ['/bucket/nowhere', 404],
    ['/nothing', 404],
  ])('HEAD %s: the status alone, %i', async (path, status, authorization = auth) => {
    const connection = await RawConnection.open(server.url)
    await connection.send(rawRequest('HEAD', path, [authorization, 'Connection: close']))
    const response = await connection.response({ headOnly: true })
    expect(response.status).toBe(status)
    expect(await connection.rest()).toHaveLength(0)
  })

  it('an error that names the client’s text cannot break the log or a header', async () => {
    const response = await server.request('POST', '/object/box/a%0d%0ab%1b[31m')
    const { message } = (await response.json()) as { message: string }
    expect(message).toBe('Invalid key: a\\u000d\\u000ab\\u001b[31m')
  })

  it('an id of the request that could not be one is replaced', async () => {
    const response = await server.request('GET', '/nothing', { headers: { 'x-request-id': 'a b;<script>' } })
    expect(response.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
  })
})
