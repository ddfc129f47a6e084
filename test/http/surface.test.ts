import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { Hono } from 'hono'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { requireCaller } from '../../src/http/auth/caller.ts'
import { type Env, logTarget } from '../../src/http/env.ts'
import type { Services } from '../../src/http/services.ts'
import { RequestContext, type Surface, Surfaces } from '../../src/http/surface.ts'
import { StorageError } from '../../src/model/errors.ts'
import { chunk, exchange, rawRequest } from '../support/raw-http.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

let server: TestServer
/** Lets the request end that `/toy/held` holds. */
let letGo: () => void = () => {}

/** A protocol that nothing else in the house knows: it says `hello`, and errors in angle brackets. */
function toySurface(services: Services): Surface {
  return {
    name: 'toy',
    prefix: '/toy',
    routes: new Hono<Env>()
      .get('/toy/hello', (c) => c.text('hello'))
      .get('/toy/who', async (c) => {
        const { subject } = await requireCaller(c, services, 'toy.who')
        return c.text(String(subject))
      })
      .get('/toy/broken', (c) => {
        logTarget(c, 'box', 'ball')
        throw new Error('the toy is broken')
      })
      .get('/toy/held', async (c) => {
        await new Promise<void>((resolve) => {
          letGo = resolve
        })
        return c.text('at last')
      })
      .post('/toy/words', async (c) => {
        const words = await text(c.env.incoming).catch((cause) => {
          throw new StorageError('Aborted', { cause })
        })
        return c.text(words)
      }),
    async authenticate({ incoming }) {
      const word = incoming.headers['x-word']
      if (word === undefined) return null
      if (word !== 'sesame') throw new StorageError('InvalidToken')
      return { role: 'authenticated', subject: 'ali', claims: { sub: 'ali' }, token: '' }
    },
    error: ({ code, status, headers }, request) => ({
      status,
      headers: { ...headers, 'Content-Type': 'application/toy' },
      body: `<${code} of ${request?.requestId ?? 'nobody'}>`,
    }),
    headers: ({ incoming }) => ({ 'X-Toy': `${incoming.method} ${incoming.url}` }),
    isVital: (path) => path === '/toy/hello',
    webSockets: {
      areAskedFor: ({ target }) => target.path === '/toy/socket',
      open: async () => {
        throw new StorageError('NotImplemented')
      },
    },
  }
}

beforeAll(async () => {
  server = await startTestServer(
    { STORAGE_MAX_REQUESTS: '1' },
    { extensions: { surfaces: (services) => [toySurface(services)] } },
  )
})
afterAll(() => server.close())
beforeEach(() => void server.logs.splice(0))

async function ask(method: string, path: string, headers: string[] = [], body = '') {
  const id = randomUUID()
  const response = await exchange(
    server.url,
    rawRequest(method, path, [...headers, `X-Request-Id: ${id}`], body),
  )
  expect(response.headers).toMatchObject({ 'x-request-id': id, 'x-content-type-options': 'nosniff' })
  expect(response.headers['x-toy']).toBe(path.startsWith('/status') ? undefined : `${method} ${path}`)
  return { response, id, said: response.body.toString() }
}

async function lineOf(id: string): Promise<Record<string, unknown>> {
  const lines = () => server.logs.filter(({ requestId, msg }) => requestId === id && msg === 'request')
  await until(() => lines().length > 0, `request ${id} is in the log`)
  expect(lines()).toHaveLength(1)
  return lines()[0] ?? {}
}

describe('a protocol of its own', () => {
  it.each(['', '/storage/v1'])('is spoken below its prefix, behind %j', async (prefix) => {
    const { response, said } = await ask('GET', `${prefix}/toy/hello`)
    expect([response.status, said]).toEqual([200, 'hello'])
  })

  it('leaves to others what only begins like it', async () => {
    const response = await server.request('GET', '/toys')
    expect([response.status, response.headers.has('x-toy')]).toEqual([404, false])
    expect(await response.json()).toMatchObject({ statusCode: '404', message: 'There is no route GET /toys' })
  })

  it('finds out by itself who asks', async () => {
    const { said, id } = await ask('GET', '/toy/who', ['X-Word: sesame'])
    expect(said).toBe('ali')
    expect(await lineOf(id)).toMatchObject({ operation: 'toy.who', user_id: 'ali', role: 'authenticated' })
    const none = await ask('GET', '/toy/who', [`Authorization: Bearer ${server.keys.serviceKey}`])
    expect([none.response.status, none.said]).toEqual([401, `<AuthenticationRequired of ${none.id}>`])
    const wrong = await ask('GET', '/toy/who', ['X-Word: open'])
    expect([wrong.response.status, wrong.said]).toEqual([401, `<InvalidToken of ${wrong.id}>`])
  })

  it.each<[what: string, request: Parameters<typeof ask>, code: string, status: number]>([
    ['what is no route', ['GET', '/toy/nowhere'], 'NoSuchRoute', 404],
    ['a method that a route does not answer', ['DELETE', '/toy/hello'], 'MethodNotAllowed', 405],
    ['a fault', ['GET', '/toy/broken'], 'InternalError', 500],
    ['an impossible host', ['GET', '/toy/hello', ['Host: a b']], 'InvalidRequest', 400],
    [
      'an unknown transfer coding',
      ['POST', '/toy/words', ['Transfer-Encoding: gzip, chunked'], '0\r\n\r\n'],
      'UnknownTransferCoding',
      501,
    ],
    [
      'a chunk that is none',
      ['POST', '/toy/words', ['Transfer-Encoding: chunked'], `${chunk('hello')}zz\r\n`],
      'NotHttp',
      400,
    ],
    [
      'a WebSocket that it does not want',
      ['GET', '/toy/socket', ['Connection: Upgrade', 'Upgrade: websocket']],
      'NotImplemented',
      501,
    ],
  ])('tells of %s in its own words, and the log has its line', async (_what, request, code, status) => {
    const { response, said, id } = await ask(...request)
    expect([response.status, said]).toEqual([status, `<${code} of ${id}>`])
    expect(response.headers['content-type']).toBe('application/toy')
    const line = await lineOf(id)
    expect(line).toMatchObject({ method: request[0], status })
    expect(line).not.toHaveProperty('aborted')
    if (code === 'InternalError') expect(line).toMatchObject({ bucket: 'box', path: 'ball' })
    else expect(line.url).toBe(request[1])
    const faults = server.logs.filter(({ level }) => level === 50)
    expect(faults.map(({ requestId, code }) => [requestId, code])).toEqual(status === 500 ? [[id, code]] : [])
  })

  it('tells of a full server in its own words, and answers what is vital', async () => {
    const held = ask('GET', '/toy/held')
    await until(async () => (await server.request('GET', '/nowhere')).status === 503, 'the server is full')
    const { response, said, id } = await ask('GET', '/toy/who')
    expect([response.status, said]).toEqual([503, `<ServerBusy of ${id}>`])
    expect(response.headers['retry-after']).toMatch(/^\d+$/)
    expect((await ask('GET', '/toy/hello')).response.status).toBe(200)
    expect((await server.request('GET', '/status')).status).toBe(200)
    letGo()
    expect((await held).said).toBe('at last')
  })

  it('has its headers on a preflight, too', async () => {
    const { response } = await ask('OPTIONS', '/toy/hello', ['Origin: https://app.test'])
    expect([response.status, response.headers['access-control-allow-origin']]).toEqual([204, '*'])
  })
})

describe('a server with one protocol at its root', () => {
  const surfaces = new Surfaces([{ ...toySurface({} as Services), prefix: '' }], '')
  const arrive = (url: string) => new RequestContext({ url, headers: {} } as IncomingMessage, surfaces)

  it.each([
    ['/storage/v1/object/a', '/storage/v1/object/a', ''],
    ['/', '/', ''],
    ['*', '*', ''],
    ['http://bucket.test/a%2Fb?x=/y?z', '/a%2Fb', 'x=/y?z'],
    ['/a\\b?c\\d', '/a%5cb', 'c%5cd'],
    ['//a/../b', '//a/../b', ''],
  ])('takes %s as it came', (url, path, query) => {
    const { target, surface } = arrive(url)
    expect([target.prefix, target.path, target.query, surface.name]).toEqual(['', path, query, 'toy'])
  })

  it('says by it what is no request', () => {
    expect(surfaces.last.error(new StorageError('NotHttp'), undefined).body).toBe('<NotHttp of nobody>')
  })
})
