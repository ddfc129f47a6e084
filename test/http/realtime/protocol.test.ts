import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { mintToken } from '../../../src/server/keys.ts'
import { exchange, RawConnection, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { RealtimeClients } from './clients.ts'

const ORIGIN = 'https://app.example'

let server: TestServer
let bucket: string
const clients = new RealtimeClients(() => server)
beforeAll(async () => {
  server = await startTestServer({ STORAGE_CORS_ORIGINS: ORIGIN })
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { policy: 'public' })
})
afterEach(() => clients.close())

const upload = async (name: string) => {
  const response = await server.request('POST', `/storage/v1/object/${bucket}/${name}`, { body: name })
  expect(response.status).toBe(201)
}

const HANDSHAKE = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
]

/** What is answered to a handshake that is refused. */
const handshake = (query: string, headers: string[] = []) =>
  exchange(server.url, rawRequest('GET', `/realtime/v1/websocket?${query}`, [...HANDSHAKE, ...headers]))

describe('the handshake', () => {
  it.each([
    ['without a key', '', [], 401, 'AuthenticationRequired'],
    ['with a key that does not hold', 'apikey=wrong', [], 401, 'InvalidToken'],
    ['with a bad token in a header', '', ['Authorization: Bearer wrong'], 401, 'InvalidToken'],
    ['for another version of the serializer', 'apikey=wrong&vsn=3.0.0', [], 400, 'InvalidParameter'],
    ['by a page of another origin', 'apikey=wrong', ['Origin: https://evil.example'], 403, 'AccessDenied'],
  ])('%s is refused as any request would be', async (_how, query, headers, status, code) => {
    const answer = await handshake(query, headers)
    expect(answer.status).toBe(status)
    expect(answer.json()).toMatchObject({ statusCode: String(status), code })
    if (status === 401) expect(answer.headers['www-authenticate']).toMatch(/^Bearer/)
  })

  it('succeeds with the key in the query or in a header, and from our own origin', async () => {
    await clients.raw({ headers: { origin: ORIGIN } })
    await clients.raw({ apikey: null, headers: { apikey: server.keys.anonKey } })
    await clients.raw({ apikey: null, headers: { authorization: `Bearer ${server.keys.anonKey}` } })
  })

  it('is asked for by plain HTTP too, which is told to upgrade', async () => {
    const response = await server.request('GET', '/realtime/v1/websocket')
    expect(response.status).toBe(426)
    expect(response.headers.get('upgrade')).toBe('websocket')
  })

  it('leaves one line in the log, without the key', async () => {
    await handshake('apikey=secret-of-mine')
    const client = await clients.raw({ apikey: server.keys.serviceKey })
    await client.join('realtime:storage')
    server.logs.splice(0)
    client.socket.close()
    await until(() => server.logs.some(({ msg }) => msg === 'realtime connection'), 'the end is in the log')
    const line = server.logs.find(({ msg }) => msg === 'realtime connection')
    expect(line).toMatchObject({
      level: 30,
      url: '/realtime/v1/websocket',
      role: 'service_role',
      joins: 1,
      code: 1005,
    })
    expect(JSON.stringify(server.logs)).not.toContain(server.keys.serviceKey.slice(0, 30))
    expect(JSON.stringify(server.logs)).not.toContain('secret-of-mine')
  })
})

describe('a request that asks for another protocol is served as if it had not', () => {
  it.each(['h2c', 'websocket'])('such as %s, with its body, and the next one too', async (protocol) => {
    const connection = await RawConnection.open(server.url)
    const headers = [`Authorization: Bearer ${server.keys.serviceKey}`, 'Content-Type: text/plain']
    const asking = [
      ...headers,
      'Connection: Upgrade, HTTP2-Settings',
      'HTTP2-Settings: AAMAAABk',
      `Upgrade: ${protocol}`,
    ]
    await connection.send(rawRequest('POST', `/storage/v1/object/${bucket}/${protocol}.txt`, asking, 'hello'))
    expect((await connection.response()).status).toBe(201)
    await connection.send(rawRequest('GET', `/storage/v1/object/${bucket}/${protocol}.txt`, asking))
    expect((await connection.response()).body.toString()).toBe('hello')
    connection.abort()
  })
})

describe.each(['1.0.0', '2.0.0', null])('version %s', (vsn) => {
  it('answers heartbeats, joins and leaves', async () => {
    const client = await clients.raw({ vsn })
    const beat = await client.reply(client.send('phoenix', 'heartbeat'))
    expect(beat.payload).toEqual({ status: 'ok', response: {} })
    const joined = await client.join('realtime:storage')
    expect(joined).toMatchObject({
      topic: 'realtime:storage',
      join_ref: joined.ref,
      payload: { status: 'ok', response: { postgres_changes: [] } },
    })
    const left = await client.reply(client.send('realtime:storage', 'phx_leave', {}, joined.join_ref))
    expect(left.payload.status).toBe('ok')
    await client.join('realtime:still-here')
    await upload('after.txt')
    await client.event('storage.object.created')
    expect(
      client.frames.filter(({ topic, event }) => topic === 'realtime:storage' && event !== 'phx_reply'),
    ).toEqual([])
  })

  it('tells of an upload by its name and as a broadcast', async () => {
    const client = await clients.raw({ vsn })
    await client.join(`realtime:storage:${bucket}`)
    await upload('a.txt')
    const raw = await client.event('storage.object.created')
    const broadcast = await client.event('broadcast')
    expect(raw).toMatchObject({ ref: null, payload: { bucket, path: 'a.txt', size: 5, type: raw.event } })
    expect(broadcast.payload).toEqual({
      type: 'broadcast',
      event: 'storage.object.created',
      payload: raw.payload,
      meta: { id: String(raw.payload.id) },
    })
  })
})

describe('joining', () => {
  it('again replaces the first time, which is closed', async () => {
    const client = await clients.raw()
    const first = await client.join('realtime:storage')
    const second = await client.join('realtime:storage')
    expect(await client.event('phx_close')).toMatchObject({ join_ref: first.ref, ref: first.ref })
    // What belongs to the first time cannot end the second.
    await client.reply(client.send('realtime:storage', 'phx_leave', {}, first.ref))
    await upload('once.txt')
    await client.event('storage.object.created')
    const beat = client.send('phoenix', 'heartbeat')
    await client.reply(beat)
    expect(second.payload.status).toBe('ok')
    expect(client.frames.filter(({ event }) => event === 'storage.object.created')).toHaveLength(1)
  })

  it.each<[string, string, unknown, string]>([
    ['a topic that is no channel', 'rooms:1', {}, 'begins with realtime:'],
    ['no bucket', 'realtime:storage:', {}, 'name of a bucket'],
    ['a name without end', `realtime:${'x'.repeat(2000)}`, {}, 'at most'],
    ['with nonsense', 'realtime:x', { config: 'all' }, 'payload/config'],
    ['with no payload', 'realtime:x', null, 'payload'],
    ['with a token that does not hold', 'realtime:x', { access_token: 'wrong' }, 'The token is malformed'],
    ['for another change', 'realtime:x', changes({ event: 'TRUNCATE' }), 'there is no change TRUNCATE'],
    [
      'for another schema',
      'realtime:x',
      changes({ schema: 'auth' }),
      'changes of auth.objects cannot be heard',
    ],
    [
      'for another table',
      'realtime:x',
      changes({ table: 'buckets' }),
      'changes of storage.buckets cannot be heard',
    ],
    ['by an unknown column', 'realtime:x', changes({ filter: 'secret=eq.1' }), 'no column secret'],
    [
      'by a column of JSON',
      'realtime:x',
      changes({ filter: 'metadata=eq.1' }),
      'metadata cannot be filtered by',
    ],
    ['by an unknown operator', 'realtime:x', changes({ filter: 'name=like.a' }), 'no operator like'],
    ['by no filter', 'realtime:x', changes({ filter: 'name' }), 'is not column=operator.value'],
    ['by half a list', 'realtime:x', changes({ filter: 'name=in.(a,b' }), 'do not match'],
    [
      'by a time that is none',
      'realtime:x',
      changes({ filter: 'created_at=gt.soon' }),
      'not compared with soon',
    ],
    [
      'by a list without end',
      'realtime:x',
      changes({ filter: `name=in.(${Array(101)})` }),
      'at most 100 values',
    ],
    [
      'by too much',
      'realtime:x',
      changes({ filter: Array(21).fill('name=eq.a').join() }),
      'at most 20 conditions',
    ],
    ['for unknown columns', 'realtime:x', changes({ select: ['secret'] }), 'no column secret'],
    [
      'for too many lists of columns',
      'realtime:x',
      {
        config: {
          postgres_changes: Array.from({ length: 11 }, (_, index) =>
            change({ select: ['id', 'name', 'version', 'checksum'].filter((_, bit) => (index >> bit) & 1) }),
          ),
        },
      },
      'at most 10 different lists',
    ],
    ['for events that are no list', 'realtime:x', storage('all'), 'payload/config/storage'],
    ['for no events', 'realtime:x', storage([]), 'payload/config/storage Too small'],
    ['for an unknown event', 'realtime:x', storage([{ event: 'created' }]), 'payload/config/storage/0/event'],
    [
      'for events by an unknown word',
      'realtime:x',
      storage([{ buckets: 'a' }]),
      'Unrecognized key: "buckets"',
    ],
    ['for events of no bucket', 'realtime:x', storage([{ bucket: '' }]), 'payload/config/storage/0/bucket'],
    [
      'for events at a place longer than any',
      'realtime:x',
      storage([{}, { prefix: 'x'.repeat(1025) }]),
      'payload/config/storage/1/prefix Too big',
    ],
    ['for too many events', 'realtime:x', storage(Array(101).fill({})), 'payload/config/storage Too big'],
    [
      'by too many values in all',
      'realtime:x',
      { config: { postgres_changes: Array(100).fill(change({ filter: 'name=in.(a,b,c)' })) } },
      'at most 200 values',
    ],
    [
      'for too much',
      'realtime:x',
      { config: { postgres_changes: Array(101).fill(change({})) } },
      'postgres_changes',
    ],
  ])('%s is refused, and said why', async (_what, topic, payload, reason) => {
    const client = await clients.raw()
    const reply = await client.join(topic, payload)
    expect(reply.payload).toEqual({ status: 'error', response: { reason: expect.stringContaining(reason) } })
    expect(client.code).toBeUndefined()
  })

  it('by too many values in all channels together is refused, until one is left', async () => {
    const client = await clients.raw()
    const list = changes({ filter: `name=in.(${Array.from({ length: 100 }, (_, index) => index)})` })
    const { ref } = await client.join('realtime:1', list)
    await client.join('realtime:2', list)
    const refused = await client.join('realtime:3', changes({}))
    expect(refused.payload.response.reason).toContain('at most 200 values')
    await client.reply(client.send('realtime:1', 'phx_leave', {}, ref))
    expect((await client.join('realtime:3', changes({}))).payload.status).toBe('ok')
  })

  it('with more than a connection may keep is refused, and a fresh token takes the room of the last one', async () => {
    const client = await clients.raw()
    const padding = 'x'.repeat(50_000)
    const { ref } = await client.join('realtime:storage')
    for (let count = 0; count < 5; count++) {
      client.send('realtime:storage', 'access_token', { access_token: null, padding }, ref)
    }
    await client.reply(client.send('phoenix', 'heartbeat'))
    const replies = []
    for (let count = 0; count < 10; count++) {
      replies.push(await client.join(`realtime:${count}`, { config: {}, padding }))
    }
    const reasons = replies.map(({ payload }) => payload.response.reason)
    expect(reasons.filter((reason) => reason === undefined)).toHaveLength(9)
    expect(reasons[9]).toBe('The channels and tokens of a connection are too large')
  })

  it('more channels than a connection may have is refused', async () => {
    const client = await clients.raw()
    const replies = await Promise.all(
      Array.from({ length: 101 }, (_, index) => client.join(`realtime:${index}`)),
    )
    const refused = replies.filter(({ payload }) => payload.status === 'error')
    expect(refused.map(({ payload }) => payload.response.reason)).toEqual([
      'A connection has at most 100 channels',
    ])
  })
})

function change(more: object) {
  return { event: '*', schema: 'storage', table: 'objects', ...more }
}

function changes(more: object) {
  return { config: { postgres_changes: [change(more)] } }
}

function storage(asked: unknown) {
  return { config: { storage: asked } }
}

describe('changes of rows', () => {
  /** The names of the rows that each of these filters lets through. */
  async function matched(asked: object[]): Promise<unknown[][]> {
    const client = await clients.raw()
    const reply = await client.join('realtime:rows', { config: { postgres_changes: asked } })
    expect(reply.payload.response.postgres_changes).toEqual(
      asked.map((one, index) => ({ ...one, id: index + 1 })),
    )
    expect(await client.event('system')).toMatchObject({
      payload: { channel: 'rows', extension: 'postgres_changes', status: 'ok' },
    })
    for (const name of ['a', 'b', 'ö', 'x,y', 'last']) await upload(encodeURIComponent(name))
    await client.frame(({ payload }) => payload.data?.record?.name === 'last', 'the last row')
    return asked.map((_, index) =>
      client.frames
        .filter(({ payload }) => payload.ids?.includes(index + 1))
        .map(({ payload }) => payload.data.record.name),
    )
  }

  it('are filtered by every operator, and by several together', async () => {
    const here = (filter: string) => change({ filter: `bucket_id=eq.${bucket},${filter}` })
    const results = await matched([
      change({ table: null, filter: `bucket_id=eq.${bucket}` }),
      here('name=eq.b'),
      here('name=neq.b'),
      here('name=lt.b'),
      here('name=lte.b'),
      here('name=gt.b'),
      here('name=gte.b'),
      here('name=in.(a,"x,y")'),
      here('name=eq."x,y"'),
      here('created_at=gt.2020-01-01T00:00:00Z'),
      here('created_at=lt.2020-01-01'),
      here('owner_id=neq.somebody'),
      change({ schema: '*', table: '*', filter: `bucket_id=eq.${bucket}`, select: ['name'] }),
      change({ event: 'UPDATE', filter: '' }),
    ])
    const all = ['a', 'b', 'ö', 'x,y', 'last']
    expect(results).toEqual([
      all,
      ['b'],
      ['a', 'ö', 'x,y', 'last'],
      ['a'],
      ['a', 'b'],
      ['ö', 'x,y', 'last'],
      ['b', 'ö', 'x,y', 'last'],
      ['a', 'x,y'],
      ['x,y'],
      all,
      [],
      [], // nobody owns what the service uploads, and null differs from nothing
      all,
      [],
    ])
  })

  it('tell the row, its columns and its types, or of it what was selected', async () => {
    const client = await clients.raw()
    const filter = `bucket_id=eq.${bucket}`
    const asked = [change({ filter }), change({ filter, select: ['name', 'id'] })]
    await client.join('realtime:rows', { config: { postgres_changes: asked } })
    await upload('a.txt')
    await server.request('POST', '/storage/v1/object/move', {
      body: { bucketId: bucket, sourceKey: 'a.txt', destinationKey: 'b.txt' },
    })
    await server.request('DELETE', `/storage/v1/object/${bucket}/b.txt`)
    await until(
      () => client.frames.filter(({ event }) => event === 'postgres_changes').length === 6,
      'three changes',
    )
    const told = client.frames
      .filter(({ event }) => event === 'postgres_changes')
      .map(({ payload }) => payload)
    const [insert, part, update, , del] = told
    const { id } = insert.data.record
    expect(insert).toMatchObject({
      ids: [1],
      data: {
        schema: 'storage',
        table: 'objects',
        type: 'INSERT',
        commit_timestamp: expect.stringMatching(/^\d{4}-/),
        record: { bucket_id: bucket, name: 'a.txt', metadata: { size: 5 } },
        errors: null,
      },
    })
    expect(insert.data.columns).toContainEqual({ name: 'metadata', type: 'jsonb' })
    expect(insert.data.columns.map(({ name }: { name: string }) => name).sort()).toEqual(
      Object.keys(insert.data.record).sort(),
    )
    expect(insert.data).not.toHaveProperty('old_record')
    expect(part).toMatchObject({ ids: [2], data: { record: { id, name: 'a.txt' } } })
    expect(Object.keys(part.data.record)).toHaveLength(2)
    expect(update.data).toMatchObject({ type: 'UPDATE', record: { id, name: 'b.txt' }, old_record: { id } })
    expect(del.data).toMatchObject({ type: 'DELETE', old_record: { id, bucket_id: bucket, name: 'b.txt' } })
    expect(del.data).not.toHaveProperty('record')
  })
})

describe('a client that says what no client says', () => {
  it.each<[string, string, string | Buffer, number]>([
    ['text that is no JSON', '2.0.0', 'hello', 1007],
    ['JSON that is no message', '2.0.0', '{"topic":"phoenix"}', 1007],
    ['null', '1.0.0', 'null', 1007],
    ['a message of the other version', '1.0.0', '["1","1","phoenix","heartbeat",{}]', 1007],
    ['lists in lists in lists', '2.0.0', `["1","1","phoenix","heartbeat",${'['.repeat(40)}]`, 1007],
    ['a ref that is none', '2.0.0', '[1,{},"phoenix","heartbeat",{}]', 1007],
    ['bytes of no known kind', '2.0.0', Buffer.from([9, 9, 9]), 1003],
    ['no bytes', '2.0.0', Buffer.alloc(0), 1003],
    ['half a broadcast', '2.0.0', Buffer.from([3, 255, 1, 1, 1, 1, 0]), 1003],
    ['bytes where only text is spoken', '1.0.0', Buffer.from([3, 0, 0, 0, 0, 0, 0]), 1003],
    ['more than any message takes', '2.0.0', 'x'.repeat(200_000), 1009],
  ])('%s, is sent away', async (_what, vsn, data, code) => {
    const client = await clients.raw({ vsn })
    client.socket.on('error', () => {})
    client.socket.send(data)
    expect(await client.closed()).toBe(code)
  })

  it('an event that does not exist, is told so', async () => {
    const client = await clients.raw()
    await client.join('realtime:storage')
    const reply = await client.reply(client.send('realtime:storage', 'shout'))
    expect(reply.payload).toMatchObject({
      status: 'error',
      response: { reason: expect.stringContaining('shout') },
    })
    const stray = await client.reply(client.send('realtime:never-joined', 'broadcast'))
    expect(stray.payload).toEqual({ status: 'error', response: { reason: 'unmatched topic' } })
  })

  it('a broadcast in binary, is refused by the ref that it had', async () => {
    const client = await clients.raw()
    const { ref: joinRef } = await client.join('realtime:storage')
    const parts = [String(joinRef), '77', 'realtime:storage', 'shout', ''].map((text) => Buffer.from(text))
    const lengths = parts.map(({ length }) => length)
    client.socket.send(Buffer.concat([Buffer.from([3, ...lengths, 1]), ...parts, Buffer.from('{"a":1}')]))
    expect((await client.reply('77')).payload.status).toBe('error')
    expect((await client.event('system')).payload).toMatchObject({ extension: 'broadcast', status: 'error' })
  })
})

describe('a fresh token', () => {
  it('that does not hold ends the channel', async () => {
    const client = await clients.raw()
    const { ref } = await client.join('realtime:storage')
    client.send('realtime:storage', 'access_token', { access_token: 'wrong' }, ref)
    expect((await client.event('system')).payload).toMatchObject({ status: 'error', channel: 'storage' })
    expect(await client.event('phx_close')).toMatchObject({ ref, join_ref: ref })
  })

  it('counts even for what its predecessor was just asked about', async () => {
    // A slow policy: the question is asked as ann, and bob is there when the answer comes.
    const [hidden, rule] = [`h-${randomUUID()}`, `slow-${randomUUID()}`]
    await server.createBucket(hidden)
    await server.admin.unsafe(
      `create sequence public."${rule}";
       grant usage on sequence public."${rule}" to authenticated;
       create policy "${rule}" on storage.objects for select to authenticated
         using (bucket_id = '${hidden}' and auth.jwt() ->> 'sub' = 'ann'
           and nextval('public."${rule}"') > 0 and pg_sleep(1) is not null)`,
    )
    const client = await clients.raw()
    const { ref } = await client.join('realtime:storage', { access_token: await server.token('ann') })
    await server.request('POST', `/storage/v1/object/${hidden}/anns.txt`, { body: 'x' })
    await until(
      async () =>
        (await server.admin.unsafe(`select is_called from public."${rule}"`))[0]?.is_called === true,
      'the policy is asked',
    )
    client.send('realtime:storage', 'access_token', { access_token: await server.token('bob') }, ref)
    await upload('public.txt')
    await client.event('storage.object.created')
    expect(client.frames.map(({ payload }) => payload.path).filter(Boolean)).toEqual(['public.txt'])
    await server.admin.unsafe(`drop policy "${rule}" on storage.objects`)
  })

  it('that comes while the join is still looked at does not make the channel deaf', async () => {
    const client = await clients.raw()
    const [token, fresh] = [await server.token(randomUUID()), await server.token(randomUUID())]
    const joined = client.reply(client.send('realtime:storage', 'phx_join', { access_token: token }))
    client.send('realtime:storage', 'access_token', { access_token: fresh })
    expect((await joined).payload.status).toBe('ok')
    await upload('heard.txt')
    expect((await client.event('storage.object.created')).payload.path).toBe('heard.txt')
  })

  it('of null goes back to the key of the connection', async () => {
    const client = await clients.raw({ apikey: server.keys.serviceKey })
    const hidden = `h-${randomUUID()}`
    await server.createBucket(hidden)
    const token = await mintToken(server.keys.jwtSecret, { role: 'anon' }, 3600)
    const { ref } = await client.join(`realtime:storage:${hidden}`, { access_token: token })
    client.send(`realtime:storage:${hidden}`, 'access_token', { access_token: null }, ref)
    await client.reply(client.send('phoenix', 'heartbeat'))
    await server.request('POST', `/storage/v1/object/${hidden}/a.txt`, { body: 'x' })
    expect((await client.event('storage.object.created')).payload.path).toBe('a.txt')
  })
})
