import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sumOf } from '../../support/exposition.ts'
import { RawConnection, rawRequest } from '../../support/raw-http.ts'
import { told } from '../../support/s3-errors.ts'
import { type S3TestServer, s3ClientAt, startS3Server } from '../../support/s3-protocol.ts'
import type { S3Keys } from '../../support/s3-signer.ts'
import { scrape } from '../../support/scrape.ts'
import { type Served, startTestServer } from '../../support/server.ts'
import { PERSISTENTLY, startUpload } from '../../support/tus.ts'
import { metadataOf } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'
import { RawClient } from '../realtime/clients.ts'

// A client that asks for too much, beside one that does not, on every surface (decision 0063).

/** Nothing comes back while a test runs. */
const LIMITS = {
  STORAGE_RATE_LIMIT_READ: '5/86400',
  STORAGE_RATE_LIMIT_WRITE: '5/86400',
  STORAGE_RATE_LIMIT_SIGN: '2/86400',
  STORAGE_RATE_LIMIT_ADMIN: '2/86400',
  STORAGE_TRUST_PROXY: 'true',
}
const MOST = 5

const SLOW_DOWN = {
  statusCode: '429',
  error: 'SlowDown',
  message: 'Too many requests; come back when Retry-After says',
  code: 'SlowDown',
}

let server: S3TestServer
beforeAll(async () => {
  server = await startS3Server(LIMITS)
  await server.createBucket('box', { policy: 'authenticated' })
  await server.createBucket('open', { public: true })
  for (const bucket of ['box', 'open']) {
    await server.request('PUT', `/object/${bucket}/there.txt`, { body: 'there' })
  }
})
afterAll(() => server.close())

let clients = 0
/** Of an address that nobody has had. */
const address = () => {
  clients++
  return `10.${clients >> 16}.${(clients >> 8) & 255}.${clients & 255}`
}
const newUser = () => server.token(`user-${++clients}`)

/** The statuses of so many requests, one after the other. */
async function statuses(count: number, ask: () => Promise<{ status: number }>): Promise<number[]> {
  const all: number[] = []
  for (let index = 0; index < count; index++) all.push((await ask()).status)
  return all
}

const allowed = (status: number, count = MOST) => Array.from({ length: count }, () => status)

/** Opens a WebSocket and closes it again. */
async function connect(token: string): Promise<{ status: number }> {
  const client = new RawClient(server, { apikey: null, headers: { authorization: `Bearer ${token}` } })
  try {
    await client.opened
    return { status: 101 }
  } catch (error) {
    return { status: Number(/\d{3}/.exec(String(error))?.[0]) }
  } finally {
    client.socket.terminate()
  }
}

const read = (token: string) => server.request('GET', '/object/box/there.txt', { token })

describe('a subject', () => {
  it('is told how many requests are left, and then to come back later, while others are served', async () => {
    const [hostile, innocent] = [await newUser(), await newUser()]
    const left: (string | null)[] = []
    for (let index = 0; index < MOST; index++) left.push((await read(hostile)).headers.get('ratelimit'))
    expect(left.map((text) => text?.replace(/t=\d+/, 't'))).toEqual(
      [4, 3, 2, 1, 0].map((remaining) => `"read";r=${remaining};t`),
    )
    const refused = await read(hostile)
    expect(refused.status).toBe(429)
    expect(await refused.json()).toEqual(SLOW_DOWN)
    const { headers } = refused
    expect(headers.get('ratelimit-policy')).toBe('"read";q=5;w=86400')
    expect(headers.get('ratelimit')).toMatch(/^"read";r=0;t=\d+$/)
    // Until one has come back: a fifth of a day.
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(17_000)
    expect(Number(headers.get('retry-after'))).toBeLessThanOrEqual(17_280)
    const exposed = headers.get('access-control-expose-headers')?.split(', ') ?? []
    expect(exposed).toEqual(expect.arrayContaining(['ratelimit', 'ratelimit-policy', 'retry-after']))
    expect((await read(innocent)).status).toBe(200)
  })

  it('has a limit for each kind of requests', async () => {
    const token = await newUser()
    const sign = () =>
      server.request('POST', '/object/sign/box/there.txt', { token, body: { expiresIn: 60 } })
    const write = () => server.request('PUT', '/object/box/mine.txt', { token, body: 'mine' })
    expect(await statuses(MOST + 1, () => read(token))).toEqual([...allowed(200), 429])
    expect(await statuses(3, sign)).toEqual([200, 200, 429])
    expect((await statuses(MOST + 1, write)).at(-1)).toBe(429)
    const bucket = () => server.request('DELETE', '/bucket/box', { token })
    expect((await statuses(3, bucket)).at(-1)).toBe(429)
  })

  it('whose name is long has a limit as well', async () => {
    const token = await server.token('x'.repeat(5000))
    expect(await statuses(MOST + 1, () => read(token))).toEqual([...allowed(200), 429])
  })

  it('is refused before its body is sent', async () => {
    const token = await newUser()
    const upload = () => server.request('PUT', '/object/box/mine.txt', { token, body: 'mine' })
    await statuses(MOST, upload)
    const connection = await RawConnection.open(server.url)
    const head = [`Authorization: Bearer ${token}`, 'Content-Length: 1000000000']
    await connection.send(rawRequest('PUT', '/object/box/mine.txt', head))
    expect((await connection.response()).status).toBe(429)
    connection.abort()
  })

  it('hears of it through supabase’s own wire, too', async () => {
    const compat = await server.beside({ STORAGE_COMPAT: 'supabase' })
    try {
      const token = await newUser()
      const ask = () => compat.request('GET', '/object/box/there.txt', { token })
      await statuses(MOST, ask)
      const refused = await ask()
      expect([refused.status, await refused.json()]).toEqual([429, SLOW_DOWN])
    } finally {
      await compat.close()
    }
  })
})

describe('the service key', () => {
  it('has no limit, and is told of none', async () => {
    expect(await statuses(4 * MOST, () => read(server.keys.serviceKey))).toEqual(allowed(200, 4 * MOST))
    expect((await read(server.keys.serviceKey)).headers.has('ratelimit')).toBe(false)
  })
})

describe('an address', () => {
  const get = (from: string) =>
    fetch(`${server.url}/storage/v1/object/public/open/there.txt`, { headers: { 'x-forwarded-for': from } })

  it('has a limit for what it reads of public buckets, from memory too', async () => {
    const [hostile, innocent] = [address(), address()]
    const answers = await statuses(MOST + 2, () => get(hostile))
    expect(answers).toEqual([...allowed(200), 429, 429])
    const served = await get(innocent)
    expect([served.status, served.headers.get('ratelimit')?.slice(0, 10)]).toEqual([200, '"read";r=4'])
  })

  it('is the network of one of IPv6', async () => {
    let host = 0
    const next = () => get(`2001:db8:1:1::${(++host).toString(16)}`)
    expect(await statuses(MOST + 1, next)).toEqual([...allowed(200), 429])
    expect((await get('2001:db8:1:2::1')).status).toBe(200)
  })

  it('is the last one that a proxy names: what a client says before counts for nothing', async () => {
    const from = address()
    expect(await statuses(MOST + 1, () => get(`${address()}, ${from}`))).toEqual([...allowed(200), 429])
  })

  it('is held to links that it has, and their signer is not', async () => {
    const signer = await newUser()
    const [hostile, innocent] = [address(), address()]
    const signed = await server.request('POST', '/object/sign/box/there.txt', {
      token: signer,
      body: { expiresIn: 600 },
    })
    const { signedURL } = (await signed.json()) as { signedURL: string }
    const follow = (from: string) =>
      fetch(`${server.url}/storage/v1${signedURL}`, { headers: { 'x-forwarded-for': from } })
    expect(await statuses(MOST + 1, () => follow(hostile))).toEqual([...allowed(200), 429])
    expect((await follow(innocent)).status).toBe(200)
    expect((await read(signer)).status).toBe(200)
  })

  it('pays for tokens that do not hold, and whoever has a good one there is served', async () => {
    const from = { 'x-forwarded-for': address() }
    const [guess, token] = ['eyJhbGciOiJIUzI1NiJ9.e30.AAAA', await newUser()]
    const list = (sent: string | null) =>
      server.request('POST', '/object/list/box', { token: sent, headers: from, body: { prefix: '' } })
    expect(await statuses(MOST + 1, () => list(guess))).toEqual([...allowed(401), 429])
    expect((await list(null)).status).toBe(429)
    expect((await list(token)).status).toBe(200)
  })
})

describe('resumable uploads', () => {
  const create = (token: string) =>
    fetch(`${server.url}/storage/v1/upload/resumable`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'tus-resumable': '1.0.0',
        'upload-length': '10',
        'upload-metadata': metadataOf({ bucketName: 'box', objectName: `tus-${++clients}` }),
      },
    })

  it('are refused by what tus-js-client comes back from, a HEAD as well', async () => {
    const [hostile, innocent] = [await newUser(), await newUser()]
    expect(await statuses(MOST + 1, () => create(hostile))).toEqual([...allowed(201), 503])
    const refused = await create(hostile)
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/)
    expect(await refused.text()).toBe(SLOW_DOWN.message)
    const created = await create(innocent)
    expect(created.status).toBe(201)
    const location = created.headers.get('location') ?? ''
    const headers = { authorization: `Bearer ${innocent}`, 'tus-resumable': '1.0.0' }
    const look = () => fetch(location, { method: 'HEAD', headers })
    expect(await statuses(MOST + 1, look)).toEqual([...allowed(200), 423])
  })

  it('are finished by tus-js-client all the same, at the rate of the limit', async () => {
    const slow = await startTestServer({ STORAGE_RATE_LIMIT_WRITE: '4/1', STORAGE_RATE_LIMIT_READ: '4/1' })
    try {
      await slow.createBucket('box', { policy: 'authenticated' })
      const { done, sent } = startUpload(Buffer.alloc(10_000, 'x'), {
        endpoint: `${slow.url}/storage/v1/upload/resumable`,
        headers: { authorization: `Bearer ${await slow.token('user')}` },
        metadata: { bucketName: 'box', objectName: 'whole' },
        chunkSize: 1000,
        retryDelays: PERSISTENTLY,
      })
      await done
      expect(sent.filter((line) => line.startsWith('HEAD')).length).toBeGreaterThan(0)
      const stored = await slow.request('GET', '/object/box/whole')
      expect((await stored.text()).length).toBe(10_000)
    } finally {
      await slow.close()
    }
  })
})

describe('S3 clients', () => {
  const get = (keys: S3Keys) => server.send('GET', '/box/there.txt', { signing: keys })

  async function accessKey(said: object): Promise<S3Keys> {
    const made = await server.request('POST', '/storage/v1/credential', { body: said })
    const body = (await made.json()) as { access_key_id: string; secret_access_key: string }
    return { accessKeyId: body.access_key_id, secretAccessKey: body.secret_access_key }
  }

  it('are told SlowDown with 503, each by its session’s subject', async () => {
    const [hostile, innocent] = [await server.session('s3-a'), await server.session('s3-b')]
    const ask = async (keys: S3Keys) => get(keys)
    expect(await statuses(MOST, () => ask(hostile))).toEqual(allowed(200))
    const refused = await ask(hostile)
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/)
    expect(await told(refused)).toMatchObject({ status: 503, code: 'SlowDown' })
    expect((await ask(innocent)).status).toBe(200)
  })

  it('with access keys of no subject have a limit for each key; the service’s pair has none', async () => {
    const [one, other] = [
      await accessKey({ role: 'authenticated' }),
      await accessKey({ role: 'authenticated' }),
    ]
    expect(await statuses(MOST + 1, () => get(one))).toEqual([...allowed(200), 503])
    expect((await get(other)).status).toBe(200)
    expect(await statuses(2 * MOST, () => get(server.keys3))).toEqual(allowed(200, 2 * MOST))
  })

  it('with a presigned URL are held to it by address, though the service has signed it', async () => {
    const url = await getSignedUrl(server.s3, new GetObjectCommand({ Bucket: 'box', Key: 'there.txt' }))
    const follow = (from: string) => fetch(url, { headers: { 'x-forwarded-for': from } })
    const [hostile, innocent] = [address(), address()]
    expect(await statuses(MOST + 1, () => follow(hostile))).toEqual([...allowed(200), 503])
    expect((await follow(innocent)).status).toBe(200)
  })

  it('whose signatures are wrong pay by address, not from what belongs to the key', async () => {
    const keys = await accessKey({ role: 'authenticated' })
    const guess = { ...keys, secretAccessKey: 'a guess' }
    const from = { 'x-forwarded-for': address() }
    const ask = (signing: S3Keys) => server.send('GET', '/box/there.txt', { signing, headers: from })
    expect(await statuses(MOST + 1, () => ask(guess))).toEqual([...allowed(403), 503])
    expect((await ask(keys)).status).toBe(200)
  })

  it('such as aws-sdk try again by themselves', async () => {
    const slow = await startS3Server({ STORAGE_RATE_LIMIT_WRITE: '4/1' })
    const s3 = s3ClientAt(slow.endpoint, { credentials: await slow.session('user'), maxAttempts: 30 })
    try {
      await slow.createBucket('box', { policy: 'authenticated' })
      const put = (index: number) =>
        s3.send(new PutObjectCommand({ Bucket: 'box', Key: `${index}`, Body: 'bytes' }))
      await Promise.all(Array.from({ length: 12 }, (_, index) => put(index)))
      expect(await slow.storedFiles()).toHaveLength(12)
    } finally {
      s3.destroy()
      await slow.close()
    }
  })
})

describe('listeners', () => {
  it('may open so many WebSockets in a while', async () => {
    const [hostile, innocent] = [await newUser(), await newUser()]
    expect(await statuses(MOST + 1, () => connect(hostile))).toEqual([...allowed(101), 429])
    expect((await connect(innocent)).status).toBe(101)
  })

  it('may open so many streams of events in a while', async () => {
    const [hostile, innocent] = [await newUser(), await newUser()]
    const look = (token: string) => server.request('HEAD', '/events', { token })
    expect(await statuses(MOST + 1, () => look(hostile))).toEqual([...allowed(200), 429])
    expect((await look(innocent)).status).toBe(200)
  })
})

describe('storage_requests_refused_total', () => {
  const refusals = async () => {
    const { families } = await scrape(server)
    return sumOf(families, 'storage_requests_refused_total', { reason: 'SlowDown', kind: 'rate' })
  }
  const tus = { 'tus-resumable': '1.0.0', 'upload-length': '1' }

  it.each<
    [surface: string, status: number, ask: (token: string, keys: S3Keys) => Promise<{ status: number }>]
  >([
    ['REST', 429, (token) => read(token)],
    ['S3', 503, (_token, keys) => server.send('GET', '/box/there.txt', { signing: keys })],
    ['TUS', 503, (token) => server.request('POST', '/upload/resumable', { token, headers: tus })],
    ['WebSockets', 429, (token) => connect(token)],
  ])('counts what %s refuses with %i', async (_surface, status, ask) => {
    const subject = `user-${++clients}`
    const [token, keys] = [await server.token(subject), await server.session(subject)]
    await statuses(MOST, () => ask(token, keys))
    const before = await refusals()
    expect(await statuses(2, () => ask(token, keys))).toEqual([status, status])
    expect((await refusals()) - before).toBe(2)
  })
})

describe('two servers', () => {
  let other: Served
  beforeAll(async () => {
    other = await server.beside()
  })
  afterAll(() => other.close())

  it('share a limit: what was asked of one is not to be had of the other', async () => {
    const token = await newUser()
    const ask = (of: Served) => of.request('GET', '/object/box/there.txt', { token })
    const first = await Promise.all(
      Array.from({ length: 40 }, (_, index) => ask(index % 2 === 0 ? server : other)),
    )
    const served = first.filter(({ status }) => status === 200).length
    expect(served).toBeGreaterThanOrEqual(MOST)
    expect(served).toBeLessThanOrEqual(2 * MOST)
    let total = served
    await until(async () => {
      const answers = await Promise.all([ask(server), ask(other)])
      total += answers.filter(({ status }) => status === 200).length
      return answers.every(({ status }) => status === 429)
    }, 'both refuse')
    expect(total).toBeLessThanOrEqual(2 * MOST)
  })
})

it('without limits nothing is said of any', async () => {
  const free = await startTestServer()
  try {
    await free.createBucket('open', { public: true })
    await free.request('PUT', '/object/open/there.txt', { body: 'there' })
    for (let index = 0; index < 3; index++) {
      const { headers } = await free.request('GET', '/object/public/open/there.txt', { token: null })
      expect([...headers.keys()].filter((name) => name.startsWith('ratelimit'))).toEqual([])
    }
    expect(await free.admin`select from strongroom.rates`).toHaveLength(0)
  } finally {
    await free.close()
  }
})
