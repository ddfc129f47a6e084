import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { StorageError } from '../../../../src/model/errors.ts'
import {
  arrived,
  authorization,
  bodyOf,
  CHUNKED,
  type ChunkedExample,
  EXAMPLES,
  host,
  PAIR,
  PRESIGNED,
  readChunked,
  verifier,
  WITH_TRAILER,
} from '../../../support/s3-examples.ts'
import { hmac, signingKey } from '../../../support/s3-signer.ts'

/* One byte of anything signed is another, and the request is refused. */

/** Every text that differs from this one in one character: by its lowest bit, or, of letters, also by their case. */
function* broken(text: string, { cases = true } = {}): Generator<string> {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    const others = cases && /[a-z]/i.test(text.charAt(at)) ? [code ^ 1, code ^ 0x20] : [code ^ 1]
    for (const other of others) yield text.slice(0, at) + String.fromCharCode(other) + text.slice(at + 1)
  }
}

async function isRefused(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work()
    return false
  } catch (error) {
    if (error instanceof StorageError && error.status >= 400 && error.status < 500) return true
    throw error
  }
}

/** Those of the requests that are taken. */
async function taken(requests: Iterable<Parameters<typeof arrived>>): Promise<Parameters<typeof arrived>[]> {
  const found: Parameters<typeof arrived>[] = []
  for (const request of requests) {
    if (!(await isRefused(() => verifier.verify(arrived(...request))))) found.push(request)
  }
  return found
}

describe.each(EXAMPLES)('a signature in the header: %s', (_what, method, url, headers, signature) => {
  const signedHeaders = Object.keys(headers).join(';')
  const all = { ...headers, authorization: authorization(signedHeaders, signature) }

  it('does not hold for another method or path, or another query', async () => {
    const requests = [
      ...[...broken(method)].map((other) => [other, url, all] as const),
      ...[...broken(url)].map((other) => [method, other, all] as const),
    ]
    expect(await taken(requests.map((request) => [...request]))).toEqual([])
  })

  it('does not hold for another header, one less or one more', async () => {
    const changed = Object.entries(all).flatMap(([name, value]) =>
      [...broken(value)].map((other) => ({ ...all, [name]: other })),
    )
    const missing = Object.keys(all).map((name) =>
      Object.fromEntries(Object.entries(all).filter(([other]) => other !== name)),
    )
    const more = [
      { ...all, 'x-amz-copy-source': '/other/key' },
      { ...all, 'x-amz-security-token': 'token' },
    ]
    const requests = [...changed, ...missing, ...more].map(
      (other) => [method, url, other] as Parameters<typeof arrived>,
    )
    expect(requests.length).toBeGreaterThan(400)
    expect(await taken(requests)).toEqual([])
  })
})

describe('a presigned URL', () => {
  it('does not hold with another byte, or at another host', async () => {
    const urls = [...broken(PRESIGNED, { cases: false }), `${PRESIGNED}&x=y`, `/a${PRESIGNED}`]
    const requests = urls.map((url) => ['GET', url, { host }] as Parameters<typeof arrived>)
    const hosts = [...broken(host)].map(
      (other) => ['GET', PRESIGNED, { host: other }] as Parameters<typeof arrived>,
    )
    const others = [
      ['PUT', PRESIGNED, { host }],
      ['GET', PRESIGNED, { host, 'x-amz-acl': 'public-read' }],
    ] as Parameters<typeof arrived>[]
    expect(await taken([...requests, ...hosts, ...others])).toEqual([])
  })
})

describe.each<[what: string, example: ChunkedExample]>([
  ['chunks', CHUNKED],
  ['chunks and a trailer', WITH_TRAILER],
])('a body in %s', (_what, example) => {
  const body = bodyOf(example)
  const isTaken = async (bytes: Buffer) => !(await isRefused(() => readChunked(example, bytes)))
  const flipped = (at: number, bit: number) => {
    const copy = Buffer.from(body)
    copy[at] = (copy[at] ?? 0) ^ bit
    return copy
  }

  it('does not hold with another byte of its framing', async () => {
    const chunkAt = body.indexOf('a'.repeat(1000))
    const lastAt = chunkAt + 65_536
    const isFraming = (at: number) => at < chunkAt || at >= lastAt
    const framing = [...body.keys()].filter(isFraming)
    const survivors: number[] = []
    for (const at of framing) {
      for (const bit of [1, 4]) if (await isTaken(flipped(at, bit))) survivors.push(at)
    }
    expect(survivors).toEqual([])
  })

  it('does not hold with another byte anywhere', () =>
    fc.assert(
      fc.asyncProperty(
        fc.nat(body.length - 1),
        fc.integer({ min: 0, max: 4 }),
        async (at, bit) => !(await isTaken(flipped(at, 1 << bit))),
      ),
      { numRuns: 150 },
    ))

  it('does not hold when it ends early, or goes on', async () => {
    for (const length of [0, 1, 85, 100, 65_700, body.length - example.end.length - 1]) {
      expect(await isTaken(body.subarray(0, length))).toBe(false)
    }
    expect(await isTaken(Buffer.concat([body, Buffer.from('a')]))).toBe(false)
    expect(await isTaken(body)).toBe(true)
  })

  it('does not hold with chunks left out, repeated or in another order', async () => {
    const [first, second, last] = example.chunks
    if (!first || !second || !last) throw new Error('there are three')
    for (const chunks of [
      [first, last],
      [second, last],
      [second, first, last],
      [first, first, second, last],
    ]) {
      expect(await isTaken(bodyOf({ ...example, chunks } as ChunkedExample))).toBe(false)
    }
  })
})

describe("a form's policy", () => {
  const scope = '20130524/us-east-1/s3/aws4_request'
  const policy = Buffer.from('{"expiration":"2013-05-25T00:00:00Z","conditions":[]}').toString('base64')
  const fields = {
    policy,
    'x-amz-algorithm': 'AWS4-HMAC-SHA256',
    'x-amz-credential': `${PAIR.accessKeyId}/${scope}`,
    'x-amz-date': '20130524T000000Z',
    'x-amz-signature': hmac(signingKey(PAIR, scope), policy).toString('hex'),
  }
  const verify = (form: object) => verifier.verifyForm(new Map(Object.entries(form)))

  it('holds as it was signed', async () => {
    expect(await verify(fields)).toMatchObject({ role: 'service_role' })
  })

  it('of Signature Version 2 is told so', async () => {
    await expect(verify({ policy, awsaccesskeyid: 'a', signature: 'b' })).rejects.toMatchObject({
      code: 'InvalidRequest',
      message: expect.stringContaining('Version 2'),
    })
  })

  it('does not hold with another byte, or without a field', async () => {
    const survivors: object[] = []
    for (const [name, value] of Object.entries(fields)) {
      // The date is the signature's own: of the same day, any will do.
      const others = name === 'x-amz-date' ? broken(value.slice(0, 8)) : broken(value)
      const { [name as keyof typeof fields]: _left, ...without } = fields
      for (const form of [without, ...[...others].map((other) => ({ ...fields, [name]: other }))]) {
        if (!(await isRefused(() => verify(form)))) survivors.push(form)
      }
    }
    expect(survivors).toEqual([])
  })
})
