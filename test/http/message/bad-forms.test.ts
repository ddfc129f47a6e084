import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BOUNDARY, field, file, form, MULTIPART, part } from '../../support/multipart.ts'
import { exchange, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift, expectNothingWritten } from '../../support/traces.ts'

let server: TestServer
let auth: string

beforeAll(async () => {
  server = await startTestServer()
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box')
})

afterAll(async () => {
  await expectNoDrift(server)
  await server.close()
})

/** On either side of the length from which a body is streamed. */
const SIZES = [
  ['a small file', 1000],
  ['a large file', 400_000],
] as const

const DISPOSITION = 'Content-Disposition: form-data; name="a"'

/** The bytes with something in their midst. */
const within = (bytes: Buffer, what: string) =>
  Buffer.concat([bytes.subarray(0, bytes.length / 2), Buffer.from(what), bytes.subarray(bytes.length / 2)])

const many = (count: number) => Array.from({ length: count }, (_, n) => field(`field${n}`, 'value'))
const large = (count: number, name?: string) =>
  Array.from({ length: count }, (_, n) => field(name ?? `field${n}`, 'x'.repeat(500_000)))
const nested = (depth: number) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`

describe.each(SIZES)('a form with %s', (_size, size) => {
  const bytes = Buffer.alloc(size, 'x')

  it.each<[what: string, status: number, body: Buffer, contentType?: string]>([
    ['no boundary', 400, form(file(bytes)), 'Content-Type: multipart/form-data'],
    ['an empty boundary', 400, form(file(bytes)), 'Content-Type: multipart/form-data; boundary='],
    ['another boundary', 400, form(file(bytes)), 'Content-Type: multipart/form-data; boundary=other'],
    ['its end cut off', 400, form(file(bytes)).subarray(0, -BOUNDARY.length - 6)],
    ['its end cut off within the file', 400, form(file(bytes)).subarray(0, size / 2)],
    ['its end cut off within a part head', 400, form(field('a', 'b'), file(bytes)).subarray(0, 60)],
    ['a line that begins like the boundary', 400, form(file(within(bytes, `\r\n--${BOUNDARY}x`)))],
    ['a line that is the boundary', 400, form(file(within(bytes, `\r\n--${BOUNDARY}\r\n`)))],
    ['a line that is the boundary, and a space', 400, form(file(within(bytes, `\r\n--${BOUNDARY} \r\n`)))],
    ['a line that is the end', 400, form(file(within(bytes, `\r\n--${BOUNDARY}--\r\n`)))],
    ['a line that begins like the end', 400, form(file(within(bytes, `\r\n--${BOUNDARY}--x`)))],
    [
      'a line that is the boundary, and a header',
      400,
      form(file(within(bytes, `\r\n--${BOUNDARY}\r\na: b\r\n\r\n`))),
    ],
    [
      'a part of two kinds',
      400,
      form(part(`${DISPOSITION}\r\nContent-Disposition: attachment`, 'x'), file(bytes)),
    ],
    [
      'a line that begins like the boundary in a field',
      400,
      form(field('a', `b\r\n--${BOUNDARY}x`), file(bytes)),
    ],
    ['a line that is the end in a field behind', 400, form(file(bytes), field('a', `b\r\n--${BOUNDARY}--`))],
    ['a part that is no field', 400, form(part('X-Note: a', 'x'), file(bytes))],
    ['a part that is an attachment', 400, form(part('Content-Disposition: attachment', 'x'), file(bytes))],
    ['a part with two dispositions', 400, form(part(`${DISPOSITION}\r\n${DISPOSITION}`, 'x'), file(bytes))],
    ['a part without a head', 400, form(part('', 'x'), file(bytes))],
    ['a part without a body', 400, form(Buffer.from(`--${BOUNDARY}\r\n${DISPOSITION}\r\n\r\n`), file(bytes))],
    [
      'a line feed in a name',
      400,
      form(part('Content-Disposition: form-data; name="a\nb"', 'x'), file(bytes)),
    ],
    [
      'a part whose head is too long',
      400,
      form(part(`${DISPOSITION}\r\nX: ${'a'.repeat(20_000)}`, ''), file(bytes)),
    ],
    ['another form behind', 400, Buffer.concat([form(file(bytes)), form(file(bytes))])],
    ['two files', 400, form(file(bytes), file(bytes, 'text/plain', 'second'))],
    ['no file', 400, form(field('cacheControl', '60'), field('metadata', '{}'))],
    ['no part', 400, form()],
    ['nothing', 400, Buffer.alloc(0)],
    ['no form in it', 400, bytes],
    ['25 fields before the file', 400, form(...many(25), file(bytes))],
    ['25 fields behind the file', 400, form(file(bytes), ...many(25))],
    ['a field of 2 MiB before the file', 413, form(field('metadata', 'x'.repeat(2 ** 21)), file(bytes))],
    ['a field of 2 MiB behind the file', 413, form(file(bytes), field('metadata', 'x'.repeat(2 ** 21)))],
    ['fields of 2 MB together before the file', 413, form(...large(4), file(bytes))],
    ['fields of 2 MB together behind the file', 413, form(file(bytes), ...large(4))],
    ['fields of 2 MB together around the file', 413, form(...large(2), file(bytes), ...large(2))],
    ['a name that is shared by fields of 2 MB together', 413, form(...large(4, 'same'), file(bytes))],
    ['a content type that is none', 415, form(field('contentType', 'text'), file(bytes))],
    ['a content type that is none, behind', 415, form(file(bytes), field('contentType', 'text'))],
    ['a line break in its type', 415, form(field('contentType', 'text/a\r\nX-Evil: b'), file(bytes))],
    ['a part type that is none', 415, form(file(bytes, 'text plain'))],
    ['a line break in cacheControl', 400, form(field('cacheControl', '1\r\nX-Evil: b'), file(bytes))],
    ['a line break in cacheControl, behind', 400, form(file(bytes), field('cacheControl', '1\nX: b'))],
    ['a NUL in contentEncoding', 400, form(field('contentEncoding', 'gz\0ip'), file(bytes))],
    ['a NUL in its metadata', 400, form(field('metadata', '{"a":"\\u0000"}'), file(bytes))],
    ['a NUL in its metadata, behind', 400, form(file(bytes), field('metadata', '{"a":"\\u0000"}'))],
    ['a lone surrogate in its metadata', 400, form(field('metadata', '{"a":"\\ud800"}'), file(bytes))],
    ['a lone surrogate in a key, behind', 400, form(file(bytes), field('metadata', '{"\\udc00":1}'))],
    ['metadata nested 20 000 deep', 400, form(field('metadata', nested(20_000)), file(bytes))],
    ['metadata nested 100 000 deep, behind', 400, form(file(bytes), field('metadata', nested(100_000)))],
  ])('%s: %i', async (_what, status, body, contentType = MULTIPART) => {
    const request = rawRequest('POST', '/object/box/never.txt', [auth, contentType], body)
    const response = await expectNothingWritten(server, () => exchange(server.url, request))
    expect([response.status, response.json().statusCode]).toEqual([status, String(status)])
    expect(Object.keys(response.json()).sort()).toEqual(['code', 'error', 'message', 'statusCode'])
  })
})

describe('odd forms that are taken', () => {
  it.each<[what: string, body: Buffer, stored: Record<string, unknown>]>([
    ['text before the first part', Buffer.concat([Buffer.from('preamble\r\n'), form(file('hi'))]), {}],
    ['text behind the last part', Buffer.concat([form(file('hi')), Buffer.from('epilogue')]), {}],
    ['an empty file', form(file('')), { size: 0 }],
    ['a file with a path for a name', form(file('hi', 'text/plain', '../../x')), {}],
    ['a field without a name', form(part('Content-Disposition: form-data', 'x'), file('hi')), {}],
    ['fields named like words of JavaScript', form(field('__proto__', 'x'), file('hi')), {}],
    ['metadata that is no JSON', form(field('metadata', '{'), file('hi')), { metadata: {} }],
    ['metadata that is a list', form(field('metadata', '[1]'), file('hi')), { metadata: {} }],
    ['fields of a megabyte together', form(...large(2), file('hi')), {}],
    ['24 fields', form(...many(24), file('hi')), {}],
  ])('%s: 201', async (_what, body, stored) => {
    const request = rawRequest('PUT', '/object/box/odd.txt', [auth, MULTIPART], body)
    const response = await exchange(server.url, request)
    expect(response.json()).toMatchObject({ Key: 'box/odd.txt', ...stored })
    expect([200, 201]).toContain(response.status)
  })

  it('keeps a metadata key that JavaScript means something by', async () => {
    const text = '{"__proto__":{"admin":true},"constructor":1,"toString":"x"}'
    const body = form(field('metadata', text), file('hi'))
    const response = await exchange(
      server.url,
      rawRequest('PUT', '/object/box/proto.txt', [auth, MULTIPART], body),
    )
    expect(response.body.toString()).toContain('"__proto__":{"admin":true}')
    const info = await (await server.request('GET', '/object/info/box/proto.txt')).text()
    expect(info).toContain('"__proto__":{"admin":true}')
    expect(({} as Record<string, unknown>).admin).toBeUndefined()
  })
})

const base64 = (text: string) => Buffer.from(text).toString('base64')

describe('headers that describe an object', () => {
  it.each([
    ['an unknown rule for robots', 'X-Robots-Tag: do-what-you-like', 400, 'invalid_x_robots_tag'],
    ['too many rules', `X-Robots-Tag: ${'noindex,'.repeat(200)}noindex`, 400, 'invalid_x_robots_tag'],
    ['a type that is none', 'Content-Type: text', 415, 'invalid_mime_type'],
    ['a parameter that is none', 'Content-Type: text/plain; =', 415, 'invalid_mime_type'],
    ['a type of 2000 characters', `Content-Type: text/${'x'.repeat(2000)}`, 415, 'invalid_mime_type'],
    ['a NUL in metadata', `X-Metadata: ${base64('{"a":"\\u0000"}')}`, 400, 'InvalidParameter'],
    ['a lone surrogate in metadata', `X-Metadata: ${base64('{"a":"\\ud800"}')}`, 400, 'InvalidParameter'],
    ['metadata nested 33 deep', `X-Metadata: ${base64(nested(33))}`, 400, 'Error'],
    ['metadata nested 7000 deep', `X-Metadata: ${base64(nested(7000))}`, 400, 'Error'],
  ])('%s: refused, whatever the size of the body', async (_what, header, status, label) => {
    for (const size of [10, 400_000]) {
      const request = rawRequest('POST', '/object/box/never.txt', [auth, header], Buffer.alloc(size))
      const response = await expectNothingWritten(server, () => exchange(server.url, request))
      expect([response.status, response.json().error]).toEqual([status, label])
    }
  })

  it.each(['!!!', base64('not json'), base64('[1,2]'), base64('null'), base64('"text"'), ''])(
    'X-Metadata: %j is ignored, as it is no base64 of a JSON object',
    async (value) => {
      const request = rawRequest('PUT', '/object/box/odd.txt', [auth, `X-Metadata: ${value}`], 'hi')
      const response = await exchange(server.url, request)
      expect(response.json()).toMatchObject({ Key: 'box/odd.txt', metadata: {} })
    },
  )

  it('metadata nested 32 deep is kept', async () => {
    const request = rawRequest(
      'PUT',
      '/object/box/odd.txt',
      [auth, `X-Metadata: ${base64(nested(32))}`],
      'hi',
    )
    const response = await exchange(server.url, request)
    expect(response.json().metadata).toEqual(JSON.parse(nested(32)))
  })
})
