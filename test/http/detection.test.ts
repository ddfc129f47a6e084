import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fileOf } from '../support/file-samples.ts'
import { field, file, form, MULTIPART } from '../support/multipart.ts'
import { chunk, exchange, RawConnection, rawRequest } from '../support/raw-http.ts'
import { refusal } from '../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../support/s3-protocol.ts'
import { chunkedBody, signRequest } from '../support/s3-signer.ts'
import { expectNoDrift, expectNothingWritten } from '../support/traces.ts'
import { TusRequests } from '../support/tus-requests.ts'

const OCTETS = 'application/octet-stream'
const REFUSED = [415, 'InvalidMimeType']

interface Sent {
  /** Undefined says none. */
  type?: string | undefined
  bucket?: string
}

/** Who is refused amid a body goes on with another connection. */
const ALONE = { connection: 'close' }

/** Ways by which bytes come, each telling the status and the code of its answer. */
class Ways {
  readonly #tus: TusRequests

  constructor(readonly server: S3TestServer) {
    this.#tus = new TusRequests(server, { headers: ALONE })
  }

  get #auth(): string {
    return `Authorization: Bearer ${this.server.keys.serviceKey}`
  }

  readonly all: Record<string, (name: string, bytes: Buffer, sent?: Sent) => Promise<(number | string)[]>> = {
    raw: (name, bytes, { type, bucket = 'any' } = {}) =>
      this.#exchange('POST', `/object/${bucket}/${name}`, type, bytes),

    'raw and chunked': async (name, bytes, { type, bucket = 'any' } = {}) => {
      const head = [this.#auth, 'Transfer-Encoding: chunked', ...(type ? [`Content-Type: ${type}`] : [])]
      const pieces = [bytes.subarray(0, 10), bytes.subarray(10, 3000), bytes.subarray(3000)]
      const body = pieces.filter((piece) => piece.length > 0).map(chunk)
      const request = rawRequest('POST', `/object/${bucket}/${name}`, head)
      const answer = await exchange(this.server.url, Buffer.concat([request, ...body, chunk('')]))
      return [answer.status, ...codeIn(answer.body.toString())]
    },

    'a form': async (name, bytes, { type = OCTETS, bucket = 'any' } = {}) => {
      const body = form(field('cacheControl', '60'), file(bytes, type), field('metadata', '{"a":1}'))
      const request = rawRequest('POST', `/object/${bucket}/${name}`, [this.#auth, MULTIPART], body)
      const answer = await exchange(this.server.url, request)
      return [answer.status, ...codeIn(answer.body.toString())]
    },

    'a signed URL': async (name, bytes, { type, bucket = 'any' } = {}) => {
      const signed = await this.server.request('POST', `/object/upload/sign/${bucket}/${name}`)
      const { url } = (await signed.json()) as { url: string }
      return this.#exchange('PUT', url, type, bytes)
    },

    'S3 PUT': async (name, bytes, { type, bucket = 'any' } = {}) => {
      const url = `${this.server.endpoint}/${bucket}/${name}`
      const request = { method: 'PUT', url, body: bytes, headers: { ...(type && { 'content-type': type }) } }
      const headers = { ...signRequest(request, this.server.keys3), ...ALONE }
      return answered(await fetch(url, { method: 'PUT', headers, body: new Uint8Array(bytes) }))
    },

    'S3 PUT in chunks of its own': async (name, bytes, { type, bucket = 'any' } = {}) => {
      const url = `${this.server.endpoint}/${bucket}/${name}`
      const request = { method: 'PUT', url, body: bytes, headers: { ...(type && { 'content-type': type }) } }
      const { headers, body } = chunkedBody(request, this.server.keys3, { chunkSize: 8192 })
      const init = { method: 'PUT', headers: { ...headers, ...ALONE }, body: new Uint8Array(body) }
      return answered(await fetch(url, init))
    },

    'S3 parts': async (Key, bytes, { type, bucket: Bucket = 'any' } = {}) => {
      const { s3 } = this.server
      const ContentType = type
      const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key, ContentType }))
      try {
        const part = await s3.send(
          new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: bytes }),
        )
        const Parts = [{ PartNumber: 1, ETag: part.ETag }]
        await s3.send(
          new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }),
        )
        return [200]
      } catch (error) {
        await s3.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }))
        const [status = 0, code] = await refusal(Promise.reject(error))
        return [status, code]
      }
    },

    'TUS, at once': async (name, bytes, { type, bucket = 'any' } = {}) => {
      const metadata = { ...(type && { contentType: type }) }
      return answered(await this.#tus.create({ bucket, name }, bytes.length, { metadata, body: bytes }))
    },

    'TUS, after few bytes': async (name, bytes, { type, bucket = 'any' } = {}) => {
      const metadata = { ...(type && { contentType: type }) }
      const url = await this.#tus.begin({ bucket, name }, bytes.length, { metadata })
      expect((await this.#tus.patch(url, 0, bytes.subarray(0, 100))).status).toBe(204)
      return answered(await this.#tus.patch(url, 100, bytes.subarray(100)))
    },
  }

  async #exchange(method: string, path: string, type: string | undefined, bytes: Buffer) {
    const head = [this.#auth, ...(type ? [`Content-Type: ${type}`] : [])]
    const answer = await exchange(this.server.url, rawRequest(method, path, head, bytes))
    return [answer.status, ...codeIn(answer.body.toString())]
  }
}

/** The code of an error, in JSON or XML; TUS says only a sentence. */
function codeIn(text: string): string[] {
  const code = /"code":"(\w+)"|<Code>(\w+)</.exec(text)
  return code ? [code[1] ?? code[2] ?? ''] : []
}

async function answered(answer: Response): Promise<(number | string)[]> {
  return [answer.status, ...codeIn(await answer.text())]
}

const WAYS = Object.keys(new Ways({} as S3TestServer).all)

/** Where a body goes: into the database, into a file at once, into a file as it comes. In bytes. */
const SIZES = [6000, 60_000, 300_000]

describe('by default', () => {
  let server: S3TestServer
  let ways: Ways
  beforeAll(async () => {
    server = await startS3Server({ STORAGE_REQUEST_TIMEOUT: '2s' })
    ways = new Ways(server)
    await server.createBucket('any', { policy: 'authenticated' })
    await server.createBucket('pictures', { allowed_mime_types: ['image/*'] })
  })
  afterAll(async () => {
    await expectNoDrift(server)
    await server.close()
  })

  const typeOf = async (bucket: string, name: string) => {
    const answer = await server.request('GET', `/object/${bucket}/${name}`)
    return [answer.headers.get('content-type'), Buffer.from(await answer.arrayBuffer())] as const
  }

  describe.each(WAYS)('an upload by %s', (way) => {
    it.each(SIZES)('of %i bytes of which nobody says the type is of that of its bytes', async (size) => {
      const bytes = fileOf('png', size)
      for (const bucket of ['any', 'pictures']) {
        const name = `${way}/${size}`.replaceAll(/[ ,]/g, '-')
        expect((await ways.all[way]?.(name, bytes, { bucket }))?.[0]).toBeLessThan(300)
        const [type, stored] = await typeOf(bucket, name)
        expect([type, stored.equals(bytes)]).toEqual(['image/png', true])
      }
    })

    it.each(SIZES)('of %i bytes that are none of the bucket’s types is refused', async (size) => {
      const name = `${way}/refused`.replaceAll(/[ ,]/g, '-')
      await expectNothingWritten(server, async () => {
        for (const type of [undefined, OCTETS]) {
          const [status] =
            (await ways.all[way]?.(name, fileOf('elf', size), { type, bucket: 'pictures' })) ?? []
          expect(status).toBe(415)
        }
      })
    })

    it('is of no known type if the bytes say none', async () => {
      const name = `${way}/text`.replaceAll(/[ ,]/g, '-')
      await ways.all[way]?.(name, Buffer.from(`BM ${'text '.repeat(2000)}`))
      expect((await typeOf('any', name))[0]).toBe(OCTETS)
    })

    it('is first what it is said to be, then what its name says', async () => {
      const name = `${way}/said`.replaceAll(/[ ,]/g, '-')
      await ways.all[way]?.(name, fileOf('png'), { type: 'text/css' })
      expect((await typeOf('any', name))[0]).toBe('text/css')
      await ways.all[way]?.(`${name}.jpg`, fileOf('png'), { type: OCTETS })
      expect((await typeOf('any', `${name}.jpg`))[0]).toBe('image/jpeg')
    })
  })

  it.each([
    ['raw', ['Content-Length: 1000000000'], (bytes: Buffer) => bytes],
    ['a form', [MULTIPART, 'Content-Length: 1000000000'], (bytes: Buffer) => file(bytes, OCTETS)],
  ])('a refusal of %s waits for no more than the first bytes', async (_what, headers, body) => {
    const connection = await RawConnection.open(server.url)
    const auth = `Authorization: Bearer ${server.keys.serviceKey}`
    const head = rawRequest('POST', '/object/pictures/long', [auth, ...headers])
    await connection.send(Buffer.concat([head, body(fileOf('elf', 4200)).subarray(0, 4400)]))
    const answer = await connection.response()
    expect([answer.status, answer.json().code]).toEqual(REFUSED)
    expect(answer.json().message).toBe('mime type application/x-elf is not supported')
    connection.abort()
  })

  it('a refusal of a chunk waits for no more than the first bytes, and keeps none of them', async () => {
    const tus = new TusRequests(server)
    const url = await tus.begin({ bucket: 'pictures', name: 'long' }, 1_000_000_000)
    const connection = await tus.stall(url, 0, 1_000_000_000, fileOf('elf', 5000))
    expect((await connection.response()).status).toBe(415)
    connection.abort()
    expect(await tus.offset(url)).toBe(0)
    await tus.terminate(url)
  })

  it('an empty upload is refused where the list does not have what is unknown', async () => {
    expect(await ways.all.raw?.('empty', Buffer.alloc(0), { bucket: 'pictures' })).toEqual(REFUSED)
    expect(await ways.all['TUS, at once']?.('empty', Buffer.alloc(0), { bucket: 'pictures' })).toEqual([415])
  })

  it('who may not upload is told so, and that there is no such bucket without a byte', async () => {
    const anon = `Authorization: Bearer ${server.keys.anonKey}`
    const open = async (path: string, length: number) => {
      const connection = await RawConnection.open(server.url)
      await connection.send(
        Buffer.concat([
          rawRequest('POST', path, [anon, 'Content-Length: 1000000000']),
          fileOf('png', 5000).subarray(0, length),
        ]),
      )
      const answer = await connection.response()
      connection.abort()
      return [answer.status, answer.json().code]
    }
    expect(await open('/object/any/denied', 5000)).toEqual([403, 'AccessDenied'])
    expect(await open('/object/nowhere/denied', 0)).toEqual([404, 'NoSuchBucket'])
  })

  it.each([0, 1, 4095])('first bytes that do not come in time, %i of them, are 408', async (length) => {
    const connection = await RawConnection.open(server.url)
    const auth = `Authorization: Bearer ${server.keys.serviceKey}`
    const head = rawRequest('POST', '/object/any/late', [auth, 'Content-Length: 1000000000'])
    await connection.send(Buffer.concat([head, fileOf('png', 4095).subarray(0, length)]))
    expect((await connection.response()).status).toBe(408)
    connection.abort()
  })

  it('a client that goes amid the first bytes leaves nothing', async () => {
    await expectNothingWritten(server, async () => {
      const connection = await RawConnection.open(server.url)
      const auth = `Authorization: Bearer ${server.keys.serviceKey}`
      const head = rawRequest('POST', '/object/any/gone', [auth, 'Content-Length: 1000000'])
      await connection.send(Buffer.concat([head, fileOf('png', 10)]))
      connection.abort()
    })
  })

  it('a copy and a move are of the type that they had', async () => {
    await ways.all.raw?.('original', fileOf('png'), { type: 'text/css' })
    const copy = { bucketId: 'any', sourceKey: 'original', destinationKey: 'copied' }
    expect((await server.request('POST', '/object/copy', { body: copy })).status).toBe(200)
    expect((await typeOf('any', 'copied'))[0]).toBe('text/css')
  })

  it('a list that changes while first bytes are on their way is the one that counts', async () => {
    await server.createBucket('changing')
    await ways.all.raw?.('first', fileOf('png'), { bucket: 'changing' })
    const body = { allowed_mime_types: ['image/*'] }
    await server.request('PUT', '/bucket/changing', { body })
    expect(await ways.all.raw?.('second', fileOf('elf'), { bucket: 'changing' })).toEqual(REFUSED)
    expect((await ways.all.raw?.('third', fileOf('png'), { bucket: 'changing' }))?.[0]).toBe(201)
  })
})

describe.each([
  ['STORAGE_SNIFF=verify', {}, 415],
  ['STORAGE_SNIFF=verify and STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }, 400],
])('with %s', (_name, env, restStatus) => {
  let server: S3TestServer
  let ways: Ways
  beforeAll(async () => {
    server = await startS3Server({ STORAGE_SNIFF: 'verify', ...env })
    ways = new Ways(server)
    await server.createBucket('any')
    await server.createBucket('pictures', { allowed_mime_types: ['image/*'] })
  })
  afterAll(async () => {
    await expectNoDrift(server)
    await server.close()
  })

  it.each(WAYS)('an upload by %s is what it is said to be', async (way) => {
    const upload = ways.all[way]
    const isRest = /raw|form|signed/.test(way)
    for (const bucket of ['any', 'pictures']) {
      const name = `${way}/verified`.replaceAll(/[ ,]/g, '-')
      const [good] = (await upload?.(name, fileOf('png'), { type: 'image/png', bucket })) ?? []
      expect(good).toBeLessThan(300)
      await expectNothingWritten(server, async () => {
        const [bad] = (await upload?.(`${name}-not`, fileOf('elf'), { type: 'image/png', bucket })) ?? []
        expect(bad).toBe(isRest ? restStatus : 415)
      })
    }
  })

  it('a name is held against the bytes as well', async () => {
    expect(await ways.all.raw?.('a.png', fileOf('exe'))).toEqual([restStatus, 'InvalidMimeType'])
  })

  it.each([6000, 600_000])('a type that comes behind %i bytes counts as if it stood before', async (size) => {
    const auth = `Authorization: Bearer ${server.keys.serviceKey}`
    const send = (bytes: Buffer, type: string) => {
      const body = form(file(bytes, 'text/plain'), field('contentType', type))
      return exchange(server.url, rawRequest('POST', `/object/any/late-${size}`, [auth, MULTIPART], body))
    }
    await expectNothingWritten(server, async () => {
      expect((await send(fileOf('elf', size), 'image/png')).status).toBe(restStatus)
    })
    expect((await send(fileOf('png', size), 'image/png')).status).toBeLessThan(300)
  })
})

describe('with STORAGE_COMPAT=supabase', () => {
  let server: S3TestServer
  beforeAll(async () => {
    server = await startS3Server({ STORAGE_COMPAT: 'supabase' })
    await server.createBucket('any')
    await server.createBucket('pictures', { allowed_mime_types: ['image/*'] })
  })
  afterAll(() => server.close())

  it.each(WAYS)('the type of an upload by %s is what is said, whatever the bytes are', async (way) => {
    const ways = new Ways(server)
    const name = `${way}/a.png`.replaceAll(/[ ,]/g, '-')
    const [status] = (await ways.all[way]?.(name, fileOf('png'), { type: OCTETS })) ?? []
    expect(status).toBeLessThan(300)
    const answer = await server.request('GET', `/object/any/${name}`)
    expect(answer.headers.get('content-type')).toBe(OCTETS)
  })

  it('and what is not said is on no list', async () => {
    const [status] = (await new Ways(server).all.raw?.('a', fileOf('png'), { bucket: 'pictures' })) ?? []
    expect(status).toBe(400)
  })
})
