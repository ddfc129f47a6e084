import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exchange, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift, expectNothingWritten } from '../../support/traces.ts'

let server: TestServer

beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket('box')
})

afterAll(async () => {
  await expectNoDrift(server)
  await server.close()
})

function upload(target: string | Buffer, method = 'POST') {
  const headers = [`Authorization: Bearer ${server.keys.serviceKey}`, 'Content-Type: text/plain']
  return exchange(server.url, rawRequest(method, target, headers, 'hello'))
}

/** As the service, or as somebody without a token. */
function ask(method: string, path: string, token: string | null = server.keys.serviceKey) {
  const headers = token === null ? [] : [`Authorization: Bearer ${token}`]
  const options = { headOnly: method === 'HEAD' }
  return exchange(server.url, rawRequest(method, `/storage/v1${path}`, headers), options)
}

/** A target with bytes in it that are no UTF-8. */
const bytes = (text: string) => Buffer.from(text, 'latin1')

describe('names that are refused', () => {
  it.each<[what: string, name: string | Buffer, code?: string]>([
    ['a leading ..', '../up.txt'],
    ['.. in between', 'a/../../up.txt'],
    ['.. at the end', 'a/..'],
    ['.. alone', '..'],
    ['an encoded ../', '%2e%2e%2fup.txt'],
    ['an encoded ..', '%2E%2E/up.txt'],
    ['an encoded slash behind ..', '..%2Fup.txt'],
    ['.. between encoded slashes', 'a%2f..%2fup.txt'],
    ['a . segment', 'a/./b.txt'],
    ['a leading .', './a.txt'],
    ['an encoded .', '%2e'],
    ['nothing', ''],
    ['a slash alone', '/'],
    ['a leading slash', '/a.txt'],
    ['an encoded leading slash', '%2Fetc%2Fpasswd'],
    ['a trailing slash', 'a/'],
    ['an encoded trailing slash', 'a%2F'],
    ['a NUL', 'a%00b'],
    ['a NUL before an extension', 'a.html%00.png'],
    ['a line break', 'a%0d%0aX-Evil:%20b'],
    ['a tab', 'a%09b'],
    ['DEL', 'a%7f'],
    ['a C1 control', 'a%c2%85'],
    ['1025 bytes', 'a'.repeat(1025)],
    ['1025 bytes in 512 characters', `${'%c3%a9'.repeat(512)}x`],
    ['10 KB', 'a'.repeat(10_240)],
    ['10 KB in segments', 'ab/'.repeat(3_413)],
    ['60 KB', 'a'.repeat(61_000)],
    ['an invalid byte, encoded', 'a%ff', 'InvalidRequest'],
    ['an invalid byte, raw', bytes('a\xff'), 'InvalidRequest'],
    ['UTF-8 cut short', 'a%e5%9b', 'InvalidRequest'],
    ['UTF-8 cut short, raw', bytes('a\xe5\x9b'), 'InvalidRequest'],
    ['an overlong ../', '%c0%ae%c0%ae%c0%af', 'InvalidRequest'],
    ['a surrogate as UTF-8', 'a%ed%a0%80', 'InvalidRequest'],
    ['a lone percent sign', 'a%', 'InvalidRequest'],
    ['no hexadecimal digits', 'a%zz', 'InvalidRequest'],
    ['the %u form', 'a%u2215', 'InvalidRequest'],
    ['a raw control character', bytes('a\x01b'), 'InvalidRequest'],
    ['a raw space', 'a b', 'InvalidRequest'],
  ])('%s: 400, whichever way it is written', async (_what, name, code = 'InvalidKey') => {
    await expectNothingWritten(server, async () => {
      for (const method of ['POST', 'PUT']) {
        const target = Buffer.concat([Buffer.from('/storage/v1/object/box/'), Buffer.from(name)])
        const response = await upload(target, method)
        expect(response.json()).toMatchObject({ statusCode: '400', code })
        expect(response.status).toBe(400)
      }
    })
  })

  it('GET of what is no UTF-8: 400', async () => {
    expect((await ask('GET', '/object/info/public/box/%ff')).status).toBe(400)
  })

  it.each<[what: string, name: string]>([
    ['..', '..'],
    ['.. in between', 'a/../b'],
    ['nothing', ''],
    ['a leading slash', '/a'],
    ['a trailing slash', 'a/'],
    ['a NUL', 'a\0b'],
    ['a C1 control', 'a\u0085'],
    ['a lone surrogate', '\ud800'],
    ['a lone low surrogate', 'a\udc00b'],
    ['1025 bytes', 'a'.repeat(1025)],
  ])('%s in move and copy: 400 for what is to be, 404 for what is not there', async (_what, name) => {
    await put('source.txt')
    await expectNothingWritten(server, async () => {
      for (const path of ['move', 'copy']) {
        for (const [sourceKey, destinationKey, statusCode, code] of [
          ['source.txt', name, '400', 'InvalidKey'],
          [name, 'target.txt', '404', 'NoSuchKey'],
        ]) {
          const body = { bucketId: 'box', sourceKey, destinationKey }
          const response = await server.request('POST', `/object/${path}`, { body })
          expect(await response.json()).toMatchObject({ statusCode, code })
        }
      }
    })
  })

  it('bulk delete leaves out names that no object can have', async () => {
    await put('kept.txt')
    await expectNothingWritten(server, async () => {
      const prefixes = ['../kept.txt', '/kept.txt', 'kept.txt\0', '\ud800', 'a'.repeat(10_240), '', '.', '%']
      const response = await server.request('DELETE', '/object/box', { body: { prefixes } })
      expect([response.status, await response.json()]).toEqual([200, []])
    })
  })
})

/** Nothing can have such a name, so that nothing is there: `exists()` of storage-js goes by the code. */
describe('reading a name that cannot be', () => {
  const NAMES = ['', 'folder/', '%2Fa', 'a/../b', '%2e%2e', 'a%00b', 'a%0ab', '%c2%85', 'a'.repeat(1025)]

  beforeAll(() => server.createBucket('open', { public: true }))

  it.each([...NAMES, 'a'.repeat(12_000)])(
    '%.20s: 404 NoSuchKey, as of any that is not there',
    async (name) => {
      const missing = {
        statusCode: '404',
        error: 'not_found',
        message: 'Object not found',
        code: 'NoSuchKey',
      }
      for (const [route, token] of [
        ['/object/box', server.keys.serviceKey],
        ['/object/authenticated/box', server.keys.serviceKey],
        ['/object/info/box', server.keys.serviceKey],
        ['/object/info/authenticated/box', server.keys.serviceKey],
        ['/object/public/open', null],
        ['/object/open', null],
        ['/object/info/public/open', null],
        ['/object/info/open', await server.token('ada')],
      ] as const) {
        const response = await ask('GET', `${route}/${name}`, token)
        expect([route, response.status, response.json()]).toEqual([route, 404, missing])
        expect((await ask('HEAD', `${route}/${name}`, token)).status).toBe(404)
      }
      const signing = await ask('POST', `/object/sign/box/${name}?expires_in=60`)
      expect([signing.status, signing.json()]).toEqual([404, missing])
    },
  )

  it.each(NAMES)(
    '%.20s in a bucket that is not there, or not for this reader: NoSuchBucket',
    async (name) => {
      for (const [route, token] of [
        ['/object/nowhere', server.keys.serviceKey],
        ['/object/info/nowhere', server.keys.serviceKey],
        ['/object/public/box', null],
        ['/object/box', null],
      ] as const) {
        const response = await ask('GET', `${route}/${name}`, token)
        expect([route, response.json()]).toMatchObject([route, { statusCode: '404', code: 'NoSuchBucket' }])
      }
    },
  )
})

describe('unusual names that are kept exactly as sent', () => {
  it.each<[what: string, target: string | Buffer, name: string]>([
    ['encoded UTF-8', 'na%C3%AFve/%E5%9B%BE%202.png', 'naïve/图 2.png'],
    ['decomposed letters', 'e%CC%81.txt', 'e\u0301.txt'],
    ['an emoji', '%F0%9F%A6%8A.txt', '🦊.txt'],
    ['a raw backslash', 'a\\..\\b.txt', 'a\\..\\b.txt'],
    ['an encoded backslash', '..%5cb.txt', '..\\b.txt'],
    ['an encoded slash', 'one%2Ftwo.txt', 'one/two.txt'],
    ['doubly encoded dots, decoded once', '%252e%252e%252fup.txt', '%2e%2e%2fup.txt'],
    ['two slashes', 'a//b.txt', 'a//b.txt'],
    ['three dots', '.../a.txt', '.../a.txt'],
    ['a question mark and a hash', 'what%3F%23.txt', 'what?#.txt'],
    ['a plus sign, which is no space', 'a+b.txt', 'a+b.txt'],
    ['brackets and braces', '[id]/{x}|^`"<>.png', '[id]/{x}|^`"<>.png'],
    ['SQL', "';drop%20table%20storage.objects;--", "';drop table storage.objects;--"],
    ['a word of JavaScript', '__proto__', '__proto__'],
    ['1024 bytes', `${'%e5%9b%be'.repeat(341)}x`, `${'图'.repeat(341)}x`],
  ])('%s', async (_what, target, name) => {
    const path = Buffer.concat([Buffer.from('/storage/v1/object/box/'), Buffer.from(target)])
    const response = await upload(path)
    expect(response.json()).toMatchObject({ Key: `box/${name}`, path: name })
    expect(response.status).toBe(201)
    const rows = await server.admin`select name from storage.objects where name = ${name}`
    expect(rows).toHaveLength(1)
    const headers = [`Authorization: Bearer ${server.keys.serviceKey}`]
    const download = await exchange(server.url, rawRequest('GET', path, headers))
    expect([download.status, download.body.toString()]).toEqual([200, 'hello'])
  })

  it('keeps a name and a longer one below it apart', async () => {
    expect((await upload('/object/box/both')).status).toBe(201)
    expect((await upload('/object/box/both/below')).status).toBe(201)
    expect(await (await server.request('GET', '/object/box/both')).text()).toBe('hello')
  })
})

describe('request targets', () => {
  it.each([
    ['GET', '//', 404],
    ['POST', '/', 405],
    ['POST', '//storage/v1/object/box/x', 404],
    ['POST', '/storage/v1//object/box/x', 404],
    ['POST', '/storage/v1/storage/v1/object/box/x', 404],
    ['POST', '/storage/v1/../v1/object/box/x', 404],
    ['POST', '/storage/v1/%6fbject/box/x', 404],
    ['POST', '/storage/v1', 405],
    ['POST', 'storage/v1/object/box/x', 400],
    ['POST', 'http://[::/storage/v1/object/box/x', 400],
    ['POST', '/object/box', 400],
    ['POST', '/object/', 404],
    ['POST', '/object//x', 404],
    ['POST', 'http://elsewhere/object/box/../x', 400],
  ])('%s %s: %i, and nothing is written', async (method, target, status) => {
    const response = await expectNothingWritten(server, () => upload(target, method))
    expect(response.status).toBe(status)
    expect(Object.keys(response.json())).toHaveLength(4)
  })

  it('serves the absolute form, whatever host it names', async () => {
    const response = await upload('http://elsewhere.example/storage/v1/object/box/absolute.txt')
    expect([response.status, response.json().Key]).toEqual([201, 'box/absolute.txt'])
  })

  it('knows every object both with and without the public prefix', async () => {
    await put('prefix.txt')
    for (const path of ['/storage/v1/object/box/prefix.txt', '/object/box/prefix.txt']) {
      expect(await (await server.request('GET', path)).text()).toBe('hello')
    }
  })
})

describe('bucket names', () => {
  it.each([
    ['a NUL', '%00', 400],
    ['a NUL within', 'a%00b', 400],
    ['an encoded slash', 'a%2Fb', 404],
    ['..', '..', 404],
    ['an encoded ../', '%2e%2e%2fbox', 404],
    ['invalid UTF-8', '%ff', 400],
    ['a lone percent sign', 'a%', 400],
    ['10 KB', 'a'.repeat(10_240), 404],
    ['another script', '%e5%9b%be', 404],
    ['another case', 'BOX', 404],
    ['SQL', "'%20or%20true--", 404],
    ['a word of JavaScript', '__proto__', 404],
  ])('%s for a bucket, in every kind of request', async (_what, bucket, status) => {
    const headers = [`Authorization: Bearer ${server.keys.serviceKey}`]
    const requests = [
      ['POST', `/object/${bucket}/a.txt`],
      ['GET', `/object/${bucket}/a.txt`],
      ['DELETE', `/object/${bucket}/a.txt`],
      ['GET', `/object/public/${bucket}/a.txt`],
      ['GET', `/bucket/${bucket}`],
      ['DELETE', `/bucket/${bucket}`],
      ['POST', `/bucket/${bucket}/empty`],
    ] as const
    const statuses = await expectNothingWritten(server, () =>
      Promise.all(
        requests.map(async ([method, target]) => {
          const response = await exchange(server.url, rawRequest(method, target, headers))
          return `${method} ${response.status}`
        }),
      ),
    )
    expect(statuses).toEqual(requests.map(([method]) => `${method} ${status}`))
  })

  it.each<[what: string, name: string]>([
    ['empty', ''],
    ['a space', ' '],
    ['a leading space', ' a'],
    ['a trailing space', 'a '],
    ['a slash', 'a/b'],
    ['a leading slash', '/a'],
    ['a NUL', 'a\0b'],
    ['a line break', 'a\nb'],
    ['another script', '图'],
    ['a lone surrogate', '\ud800'],
    ['101 characters', 'a'.repeat(101)],
    ['10 KB', 'a'.repeat(10_240)],
  ])('no bucket is made whose name has or is %s: 400', async (_what, name) => {
    await expectNothingWritten(server, async () => {
      for (const body of [{ name }, { name, policy: 'private' }, { id: name, name: 'fine' }]) {
        const response = await server.request('POST', '/bucket', { body })
        const { code } = (await response.json()) as { code: string }
        expect([response.status, code]).toEqual([400, 'InvalidBucketName'])
      }
    })
  })
})

async function put(name: string): Promise<void> {
  const response = await server.request('PUT', `/object/box/${name}`, { body: 'hello' })
  expect(response.ok).toBe(true)
}
