import { randomBytes, randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { cleanUp, repairsOf } from '../../support/cleanup.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { TusRequests } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'

const LONG_AGO = 'Sun, 06 Nov 1994 08:49:37 GMT'
const IN_FUTURE = 'Wed, 06 Nov 2199 08:49:37 GMT'

/** Small bodies are read first and take one transaction; large ones are streamed. */
const SMALL = 'small'
const LARGE = randomBytes(300_000)

describe.each([{}, { STORAGE_COMPAT: 'supabase' }])('a conditional write, with %j', (env) => {
  const isCompat = 'STORAGE_COMPAT' in env
  let server: TestServer
  let bucket: string
  let etag: string
  beforeAll(async () => {
    server = await startTestServer(env)
  })
  afterAll(async () => {
    const repairs = repairsOf(await cleanUp(server, { dryRun: true }))
    await server.close()
    expect(repairs).toEqual({})
  })
  beforeEach(async () => {
    bucket = `b-${randomUUID()}`
    await server.createBucket(bucket)
    await server.request('POST', `/object/${bucket}/held`, { body: 'first' })
    const read = await server.request('GET', `/object/${bucket}/held`)
    etag = read.headers.get('etag') ?? ''
    expect(await read.text()).toBe('first')
  })

  const status = (plain: number) => (isCompat ? (plain < 400 ? 200 : plain === 412 ? 412 : 400) : plain)
  const read = async (name: string) => {
    const response = await server.request('GET', `/object/${bucket}/${name}`)
    const text = await response.text()
    return response.ok ? text : null
  }
  type Headers = Record<string, string>
  const put = (name: string, headers: Headers, body: string | object = SMALL, method = 'PUT') =>
    server.request(method, `/object/${bucket}/${name}`, { headers, body })
  const transfer = (how: string, from: string, to: string, headers: Headers) =>
    server.request('POST', `/object/${how}`, {
      headers,
      body: { bucketId: bucket, sourceKey: from, destinationKey: to },
    })
  /** Waits for the answer, so that the next request finds its work done. */
  const told = async (asked: Promise<Response>) => {
    const response = await asked
    await response.arrayBuffer()
    return response.status
  }

  /** No bytes without a row, no version on a list. */
  async function expectNoDrift(): Promise<void> {
    const [lists] = await server.admin`
      select (select count(*)::int from storage.uploads) as uploads,
        (select count(*)::int from storage.removals) as removals`
    expect(lists).toEqual({ uploads: 0, removals: 0 })
    expect(repairsOf(await cleanUp(server, { bucket, dryRun: true }))).toEqual({})
  }

  /** How a write to an object that is there is answered, for each condition; true goes on. */
  const OF_HELD: [headers: (etag: string) => Headers, goesOn: boolean][] = [
    [(tag) => ({ 'if-match': tag }), true],
    [(tag) => ({ 'if-match': `"x", ${tag}` }), true],
    [() => ({ 'if-match': '*' }), true],
    [() => ({ 'if-match': '"x"' }), false],
    [() => ({ 'if-match': 'x' }), false],
    [(tag) => ({ 'if-match': `W/${tag}` }), false],
    [() => ({ 'if-none-match': '*' }), false],
    [(tag) => ({ 'if-none-match': tag }), false],
    [(tag) => ({ 'if-none-match': `W/${tag}` }), false],
    [() => ({ 'if-none-match': '"x"' }), true],
    [() => ({ 'if-unmodified-since': LONG_AGO }), false],
    [() => ({ 'if-unmodified-since': IN_FUTURE }), true],
    [() => ({ 'if-unmodified-since': 'yesterday' }), true],
    [(tag) => ({ 'if-match': tag, 'if-unmodified-since': LONG_AGO }), true],
    [(tag) => ({ 'if-match': tag, 'if-none-match': '*' }), false],
    [() => ({ 'if-match': '"x"', 'if-none-match': '"x"' }), false],
  ]

  it.each(OF_HELD)('of an object that is there: %s goes on: %j', async (headers, goesOn) => {
    const at = (success: number) => status(goesOn ? success : 412)
    // A delete first refused and then done would leave nothing for the next.
    for (const body of [SMALL, LARGE]) {
      expect(await told(put('held', headers(etag), body))).toBe(at(200))
      expect((await read('held')) === 'first').toBe(!goesOn)
      await told(put('held', {}, 'first'))
    }
    await told(put('source', {}, 'other'))
    expect(await told(transfer('copy', 'source', 'held', { ...headers(etag), 'x-upsert': 'true' }))).toBe(
      at(200),
    )
    expect(await read('held')).toBe(goesOn ? 'other' : 'first')
    await told(put('held', {}, 'first'))
    const removed = server.request('DELETE', `/object/${bucket}/held`, { headers: headers(etag) })
    expect(await told(removed)).toBe(at(204))
    expect(await read('held')).toBe(goesOn ? null : 'first')
    await expectNoDrift()
  })

  it.each<[headers: Headers, goesOn: boolean]>([
    [{ 'if-match': '*' }, false],
    [{ 'if-match': '"x"' }, false],
    [{ 'if-none-match': '*' }, true],
    [{ 'if-none-match': '"x"' }, true],
    [{ 'if-unmodified-since': LONG_AGO }, true], // there is no date to compare with (RFC 9110 §13.1.4)
  ])('of a name that nobody has: %j goes on: %j', async (headers, goesOn) => {
    const at = (success: number) => status(goesOn ? success : 412)
    for (const [index, body] of [SMALL, LARGE].entries()) {
      for (const method of ['PUT', 'POST']) {
        expect(await told(put(`new-${index}-${method}`, headers, body, method))).toBe(at(201))
        expect((await read(`new-${index}-${method}`)) !== null).toBe(goesOn)
      }
    }
    expect(await told(transfer('copy', 'held', 'copied', headers))).toBe(at(200))
    expect(await read('copied')).toBe(goesOn ? 'first' : null)
    await expectNoDrift()
  })

  it('of a POST that may not replace: what is there is 412 by its condition, else 409', async () => {
    for (const body of [SMALL, LARGE]) {
      expect(await told(put('held', { 'if-none-match': '*' }, body, 'POST'))).toBe(412)
      expect(await told(put('held', { 'if-match': '"x"' }, body, 'POST'))).toBe(412)
      expect(await told(put('held', { 'if-match': etag }, body, 'POST'))).toBe(status(409))
    }
    expect(await read('held')).toBe('first')
    await expectNoDrift()
  })

  it('of a delete of what is not there: nothing is found, whatever the condition', async () => {
    for (const headers of [{ 'if-match': '*' }, { 'if-none-match': '*' }]) {
      const answer = await server.request('DELETE', `/object/${bucket}/absent`, { headers })
      expect([answer.status, await answer.json()]).toMatchObject([status(404), { code: 'NoSuchKey' }])
    }
  })

  it('of a move: what must be is said of the object, what must not be of its new name', async () => {
    for (const headers of [{ 'if-match': '"x"' }, { 'if-unmodified-since': LONG_AGO }] as Headers[]) {
      expect(await told(transfer('move', 'held', 'moved', headers))).toBe(412)
      expect(await told(transfer('move', 'held', 'held', headers))).toBe(412)
    }
    await told(put('taken', {}, 'taken'))
    expect(await told(transfer('move', 'held', 'taken', { 'if-none-match': '*' }))).toBe(412)
    expect(await told(transfer('move', 'held', 'taken', { 'if-none-match': '"x"' }))).toBe(status(409))
    expect([await read('held'), await read('moved'), await read('taken')]).toEqual(['first', null, 'taken'])
    expect(await told(transfer('move', 'held', 'moved', { 'if-match': etag, 'if-none-match': '*' }))).toBe(
      200,
    )
    expect([await read('held'), await read('moved')]).toEqual([null, 'first'])
  })

  it('by a form and by a signed URL is judged the same', async () => {
    const form = () => {
      const body = new FormData()
      body.append('', new Blob(['form']), 'x')
      return body
    }
    const signed = await server.request('POST', `/object/upload/sign/${bucket}/held`, {
      headers: { 'x-upsert': 'true' },
    })
    const { url } = (await signed.json()) as { url: string }
    for (const [headers, goesOn] of [
      [{ 'if-none-match': '*' }, false],
      [{ 'if-match': etag }, true],
    ] as const) {
      const at = status(goesOn ? 200 : 412)
      expect(await told(server.request('PUT', `/object/${bucket}/held`, { headers, body: form() }))).toBe(at)
      expect(await read('held')).toBe(goesOn ? 'form' : 'first')
      await told(put('held', {}, 'first'))
      expect(await told(server.request('PUT', url, { token: null, headers, body: 'signed' }))).toBe(at)
      expect(await read('held')).toBe(goesOn ? 'signed' : 'first')
      await told(put('held', {}, 'first'))
    }
  })

  it('is judged by the row, also of an object that plain SQL made', async () => {
    await server.admin`insert into storage.objects (bucket_id, name, metadata) values (${bucket}, 'plain', '"x"')`
    expect(await told(put('plain', { 'if-none-match': '*' }))).toBe(412)
    expect(await told(put('plain', { 'if-match': '*' }))).toBe(status(200))
    expect(await read('plain')).toBe(SMALL)
  })

  it('that is false is told before the body is sent', async () => {
    const { hostname, port } = new URL(server.url)
    const socket = connect(Number(port), hostname)
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
    })
    socket.write(
      `PUT /object/${bucket}/held HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${server.keys.serviceKey}\r\n` +
        'If-None-Match: *\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n',
    )
    await until(() => answer.startsWith('HTTP/1.1 412'), 'it is answered')
    socket.destroy()
    expect(await read('held')).toBe('first')
  })

  it('with an If-None-Match that names nothing is malformed', async () => {
    expect(await told(put('held', { 'if-none-match': 'x' }))).toBe(400)
    expect(await read('held')).toBe('first')
  })

  it('of many things at once is refused, and nothing is done', async () => {
    const headers = { 'if-match': '*' }
    const many = { headers, body: { prefixes: ['held'] } }
    expect(await told(server.request('DELETE', `/object/${bucket}`, many))).toBe(400)
    expect(await told(server.request('POST', `/bucket/${bucket}/empty`, { headers }))).toBe(400)
    expect(await read('held')).toBe('first')
  })

  describe('of an upload in chunks', () => {
    const place = (name: string) => ({ bucket, name })
    const tus = () => new TusRequests(server, { headers: { 'x-upsert': 'true' } })

    it('that is false already is told at its creation', async () => {
      for (const headers of [{ 'if-none-match': '*' }, { 'if-match': '"x"' }] as Headers[]) {
        for (const upsert of ['true', 'false']) {
          const created = await tus().create(place('held'), 5, {
            headers: { ...headers, 'x-upsert': upsert },
          })
          expect(created.status).toBe(412)
        }
      }
      expect(await server.admin`select from storage.resumable_uploads where bucket_id = ${bucket}`).toEqual(
        [],
      )
      await expectNoDrift()
    })

    it('is remembered from its creation, and judged when the object is made', async () => {
      const late = await tus().begin(place('late'), 5, { headers: { 'if-none-match': '*' } })
      const over = await tus().begin(place('held'), 5, { headers: { 'if-match': etag } })
      expect((await tus().patch(late, 0, 'chu')).status).toBe(204)
      expect((await tus().patch(over, 0, 'chu')).status).toBe(204)
      await told(put('late', {}, 'faster'))
      await told(put('held', {}, 'faster'))
      expect((await tus().patch(late, 3, 'nk')).status).toBe(412)
      expect((await tus().patch(over, 3, 'nk')).status).toBe(412)
      expect([await read('late'), await read('held')]).toEqual(['faster', 'faster'])
      // All bytes are here: once the condition holds, whoever asks makes the object.
      await server.request('DELETE', `/object/${bucket}/late`)
      expect((await tus().head(late)).status).toBe(200)
      expect(await read('late')).toBe('chunk')
      expect((await tus().terminate(over)).status).toBe(204)
      await expectNoDrift()
    })

    it('without the right to replace is told the same way, and can be ended', async () => {
      const plain = new TusRequests(server)
      const url = await plain.begin(place('late'), 5, { headers: { 'if-none-match': '*' } })
      await told(put('late', {}, 'faster'))
      expect((await plain.patch(url, 0, 'chunk')).status).toBe(412)
      expect((await plain.terminate(url)).status).toBe(204)
      expect(await read('late')).toBe('faster')
      await expectNoDrift()
    })

    it('that holds makes the object', async () => {
      const url = await tus().begin(place('held'), 5, { headers: { 'if-match': etag } })
      expect((await tus().patch(url, 0, 'chunk')).status).toBe(204)
      expect(await read('held')).toBe('chunk')
    })
  })

  describe('of a bucket', () => {
    const row = async () => (await server.admin`select * from storage.buckets where id = ${bucket}`)[0]
    const tag = async () => (await server.request('GET', `/bucket/${bucket}`)).headers.get('etag') ?? ''
    const change = (method: string, headers: Headers, body?: object) =>
      told(server.request(method, `/bucket/${bucket}`, { headers, ...(body && { body }) }))

    it('holds or not by its settings as they are', async () => {
      await server.request('DELETE', `/object/${bucket}/held`)
      const [before, first] = [await row(), await tag()]
      for (const headers of [
        { 'if-match': '"x"' },
        { 'if-none-match': '*' },
        { 'if-unmodified-since': LONG_AGO },
      ] as Headers[]) {
        for (const method of ['PUT', 'PATCH']) {
          expect(await change(method, headers, { file_size_limit: 7 })).toBe(412)
        }
        expect(await change('DELETE', headers)).toBe(412)
        expect(await row()).toEqual(before)
      }
      expect(await change('PUT', { 'if-match': first }, { file_size_limit: 7 })).toBe(200)
      expect(await tag()).not.toBe(first)
      expect(await change('PUT', { 'if-match': first }, { file_size_limit: 8 })).toBe(412)
      expect(await change('DELETE', { 'if-match': first })).toBe(412)
      expect(await row()).toMatchObject({ file_size_limit: '7' })
      expect(await change('DELETE', { 'if-match': await tag() })).toBe(200)
    })

    it('is told by an ETag, which is not that of its statistics', async () => {
      const get = (query = '', headers: Headers = {}) =>
        server.request('GET', `/bucket/${bucket}${query}`, { headers })
      const first = await tag()
      expect(await told(get('', { 'if-none-match': first }))).toBe(304)
      expect(await told(get('', { 'if-none-match': '"x"' }))).toBe(200)
      await change('PUT', {}, { file_size_limit: 7 })
      expect(await told(get('', { 'if-none-match': first }))).toBe(200)
      // Which compat mode does not have.
      expect((await get('?stats=true')).headers.get('etag')).toEqual(isCompat ? await tag() : null)
    })

    it('that is to be made', async () => {
      const make = (name: string, headers: Headers) =>
        told(server.request('POST', '/bucket', { headers, body: { name } }))
      expect(await make(bucket, { 'if-none-match': '*' })).toBe(412)
      expect(await make(bucket, { 'if-match': '*' })).toBe(status(409))
      const name = `b-${randomUUID()}`
      expect(await make(name, { 'if-match': '*' })).toBe(412)
      expect(await make(name, { 'if-none-match': '*' })).toBe(status(201))
    })
  })

  it('is judged behind policies that look at what is sent', async () => {
    const token = await server.token(randomUUID())
    await server.admin.unsafe(`create policy "${bucket}" on storage.objects for all to authenticated
      using (bucket_id = '${bucket}')
      with check (bucket_id = '${bucket}' and metadata ->> 'mimetype' = 'image/png' and user_metadata ->> 'a' = 'b')`)
    const metadata = Buffer.from('{"a":"b"}').toString('base64')
    const ask = (method: string, type: string, condition: Headers, body: string | object = SMALL) => {
      const headers = { 'content-type': type, 'x-metadata': metadata, ...condition }
      return told(server.request(method, `/object/${bucket}/held`, { token, headers, body }))
    }
    for (const body of [SMALL, LARGE]) {
      for (const method of ['PUT', 'POST']) {
        expect(await ask(method, 'image/png', { 'if-none-match': '*' }, body)).toBe(412)
        expect(await ask(method, 'text/plain', { 'if-none-match': '*' }, body)).toBe(status(403))
      }
    }
    expect(await ask('PUT', 'image/png', { 'if-match': etag })).toBe(status(200))
    expect(await read('held')).toBe(SMALL)
  })

  it('tells who may not write only that, and who may not see nothing of what is there', async () => {
    const token = await server.token(randomUUID())
    await server.createBucket(`${bucket}-shared`, { policy: 'authenticated' })
    const conditions = [{ 'if-match': '"x"' }, { 'if-match': etag }, { 'if-none-match': '*' }] as Headers[]
    for (const where of [bucket, `${bucket}-shared`]) {
      await server.request('PUT', `/object/${where}/held`, { body: 'first' })
      for (const headers of conditions) {
        for (const method of ['PUT', 'POST', 'DELETE']) {
          const ask = async (name: string, sent: Headers) => {
            const path = `/object/${where}/${name}`
            const response = await server.request(method, path, {
              token,
              headers: sent,
              ...(method !== 'DELETE' && { body: 'x' }),
            })
            return [response.status, await response.text()]
          }
          const plain = await ask('held', {})
          // A POST is refused for the name: that is what its condition is about.
          if (where !== bucket && method === 'POST') continue
          expect(await ask('held', headers)).toEqual(plain)
        }
      }
    }
    // Who may add but not see: as without a condition.
    await server.admin.unsafe(`create policy "drop box" on storage.objects for insert to authenticated
      with check (bucket_id = '${bucket}')`)
    for (const headers of conditions) {
      const answers = await Promise.all(
        ['held', 'absent'].map((name) =>
          told(server.request('PUT', `/object/${bucket}/${name}`, { token, headers, body: 'x' })),
        ),
      )
      expect(new Set(answers).size).toBe(1)
      expect(
        await told(server.request('POST', `/object/${bucket}/held`, { token, headers, body: 'x' })),
      ).toBe('if-match' in headers ? 412 : status(409))
    }
    expect(await read('held')).toBe('first')
  })
})
