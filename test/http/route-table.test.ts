import { TrieRouter } from 'hono/router/trie-router'
import { describe, expect, it } from 'vitest'
import { RouteTable } from '../../src/http/route-table.ts'

/** Routes of every shape that the server has, in an order in which fixed words win over parameters. */
const ROUTES = [
  ['ALL', '/*'],
  ['POST', '/upload/resumable/sign/'],
  ['GET', '/upload/resumable/sign/:id'],
  ['GET', '/upload/resumable/:id'],
  ['ALL', '/s3/*'],
  ['GET', '/'],
  ['GET', '/health'],
  ['GET', '/health/live'],
  ['GET', '/bucket'],
  ['GET', '/bucket/'],
  ['GET', '/bucket/:id'],
  ['GET', '/bucket/:id/'],
  ['POST', '/bucket/:id/empty'],
  ['GET', '/object/sign/:bucket/:key{.*}'],
  ['POST', '/object/sign/:bucket'],
  ['GET', '/object/public/:bucket/:key{.*}'],
  ['GET', '/object/info/public/:bucket/:key{.*}'],
  ['GET', '/object/info/:bucket/:key{.*}'],
  ['GET', '/object/:bucket/:key{.*}'],
  ['DELETE', '/object/:bucket'],
  ['DELETE', '/object/:bucket/:key{.*}'],
  ['DELETE', '/webhook/:id/dead-letter/:event{\\d{1,15}}'],
  ['GET', '/credential/:id{\\w{1,128}}'],
  ['GET', '/audit/:bucket/:key{.+}'],
  ['GET', '/documentation/openapi-explorer-2.4.820.js'],
] as const

const SEGMENTS = [
  '',
  'object',
  'public',
  'info',
  'sign',
  'bucket',
  'upload',
  'resumable',
  'empty',
  's3',
  's3x',
  'audit',
  'webhook',
  'dead-letter',
  'credential',
  'documentation',
  'openapi-explorer-2.4.820.js',
  'openapi-explorer-2x4x820.js',
  'health',
  'live',
  '42',
  '1234567890123456',
  'a b%2F',
]

function* paths(): Generator<string> {
  for (const one of SEGMENTS) {
    yield `/${one}`
    for (const two of SEGMENTS) {
      yield `/${one}/${two}`
      for (const three of SEGMENTS) {
        yield `/${one}/${two}/${three}`
        for (const four of ['', 'object', '42', 'x']) {
          yield `/${one}/${two}/${three}/${four}`
          yield `/${one}/${two}/${three}/${four}/x/`
        }
      }
    }
  }
}

describe('the table of routes', () => {
  it("finds what Hono's own router finds, with the same parameters, for every path", () => {
    const table = new RouteTable<string>()
    const trie = new TrieRouter<string>()
    for (const [method, path] of ROUTES) {
      table.add(method, path, `${method} ${path}`)
      trie.add(method, path, `${method} ${path}`)
    }
    let found = 0
    for (const path of paths()) {
      for (const method of ['GET', 'POST', 'DELETE', 'OPTIONS']) {
        const [expected] = trie.match(method, path)
        const [actual] = table.match(method, path)
        const plain = (all: typeof actual) => all.map(([handler, params]) => [handler, { ...params }])
        if (actual.length > 1) found++
        // Compared by hand: half a million assertions take a minute.
        const [is, shouldBe] = [JSON.stringify(plain(actual)), JSON.stringify(plain(expected))]
        if (is !== shouldBe)
          expect({ method, path, handlers: is }).toEqual({ method, path, handlers: shouldBe })
      }
    }
    expect(found).toBeGreaterThan(1000)
  })

  it('has what is for all paths for `OPTIONS *`, too, once', () => {
    const table = new RouteTable<string>()
    table.add('ALL', '/*', 'all')
    table.add('GET', '/:name', 'one')
    expect(table.match('OPTIONS', '*')).toEqual([[['all', {}]]])
  })
})
