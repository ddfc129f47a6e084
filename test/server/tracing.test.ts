import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ReceivedSpan, treeOf } from '../support/otlp-receiver.ts'
import { WITH_PAIR } from '../support/s3-protocol.ts'
import { signRequest } from '../support/s3-signer.ts'
import { startTracedServer, type Traced } from '../support/traced-server.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { makeHook } from '../support/webhooks.ts'

let traced: Traced
beforeAll(async () => {
  traced = await startTracedServer({ ...WITH_PAIR, OTEL_SERVICE_NAME: 'files' })
  await traced.server.createBucket('photos', { policy: 'authenticated' })
  await traced.server.createBucket('open', { public: true })
})
afterAll(() => traced.close())

/** Sends a request, and waits for its span. */
async function spanOf(sending: Promise<Response>): Promise<ReceivedSpan> {
  const response = await sending
  await response.arrayBuffer()
  return traced.collector.request(response.headers.get('x-request-id'))
}

/** Large enough for a file, unless something else is said. */
const LARGE = 'x'.repeat(20_000)

function upload(
  name: string,
  { headers = {}, body = LARGE }: { headers?: Record<string, string>; body?: string } = {},
) {
  return traced.server.request('POST', `/storage/v1/object/photos/${name}`, { body, headers })
}

/** A trace that somebody else has begun. */
function foreignTrace(flags = '01') {
  const traceId = randomUUID().replaceAll('-', '')
  const spanId = traceId.slice(0, 16)
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-${flags}` }
}

describe('a request', () => {
  it('is a tree: its steps, what they ask the database, what they do with bytes', async () => {
    const span = await spanOf(upload('a/tree.txt'))
    expect(treeOf(traced.collector.traceOf(span), span)).toEqual([
      'POST /storage/v1/object/:bucket/:key{.*}',
      '  FileStorage.upload',
      '    select storage.bucket_settings',
      '    transaction',
      '      select storage.act_as',
      '      insert storage.objects',
      '      LocalBackend.write',
    ])
    expect(span).toMatchObject({
      kind: 'server',
      parentSpanId: '',
      isError: false,
      attributes: {
        'http.request.method': 'POST',
        'http.route': '/storage/v1/object/:bucket/:key{.*}',
        'http.response.status_code': 201,
        'strongroom.operation': 'storage.object.upload',
        'strongroom.bucket': 'photos',
        'strongroom.path': 'a/tree.txt',
        'strongroom.size': LARGE.length,
      },
      resource: { 'service.name': 'files', 'service.version': expect.any(String) },
    })
  })

  it('says of a statement what it is, without its values', async () => {
    const span = await spanOf(upload('values-of-statements.txt', { body: 'small and secret' }))
    const put = traced.collector
      .traceOf(span)
      .find(({ name }) => name === 'select storage.put_object_version')
    expect(put).toMatchObject({
      kind: 'client',
      attributes: {
        'db.system.name': 'postgresql',
        'db.query.summary': 'select storage.put_object_version',
        'db.query.text': expect.stringMatching(/storage\.put_object_version\(\s*\$1/),
      },
    })
    expect(JSON.stringify(put)).not.toContain('values-of-statements')
  })

  it('that is answered from memory has a span, too', async () => {
    await (await traced.server.request('POST', '/storage/v1/object/open/hot.txt', { body: 'hot' })).text()
    const get = () => traced.server.request('GET', '/storage/v1/object/public/open/hot.txt', { token: null })
    for (let n = 0; n < 3; n++) await spanOf(get())
    const trace = foreignTrace()
    const headers = { traceparent: trace.traceparent }
    const path = '/storage/v1/object/public/open/hot.txt'
    const span = await spanOf(traced.server.request('GET', path, { token: null, headers }))
    expect(span).toMatchObject({ traceId: trace.traceId, parentSpanId: trace.spanId })
    expect(traced.collector.traceOf(span)).toHaveLength(1)
    expect(span.name).toMatch(/^GET \/storage\/v1\/object\/public\//)
  })

  it('that fails says how, and is no failure of the server’s when it is the client’s', async () => {
    const span = await spanOf(traced.server.request('GET', '/storage/v1/object/photos/none.txt'))
    expect(span).toMatchObject({ isError: false, attributes: { 'error.type': 'NoSuchKey' } })
    const unknown = await spanOf(traced.server.request('GET', `/storage/v1/${'no-route/'.repeat(500)}`))
    expect(unknown.name).toBe('GET')
    expect(String(unknown.attributes['url.path']).length).toBeLessThanOrEqual(1024)
  })

  it('about health has none', async () => {
    const headers = { 'x-request-id': 'of-a-balancer' }
    await (await traced.server.request('GET', '/storage/v1/health', { headers })).text()
    await spanOf(upload('after-health.txt'))
    const ids = traced.collector.spans.map(({ attributes }) => attributes['strongroom.request_id'])
    expect(ids).not.toContain('of-a-balancer')
  })

  it('is found again in the log by its trace', async () => {
    const response = await traced.server.request('GET', '/storage/v1/object/photos/none.txt')
    const span = await spanOf(Promise.resolve(response))
    const line = traced.server.logs.find(
      ({ requestId }) => requestId === response.headers.get('x-request-id'),
    )
    expect(line).toMatchObject({ msg: 'request', trace_id: span.traceId, span_id: span.spanId })
  })

  it('of TUS shows the steps of its upload', async () => {
    const tus = new TusRequests(traced.server, { token: traced.server.keys.serviceKey })
    const span = await spanOf(
      tus.create({ bucket: 'photos', name: 'by-tus.txt' }, 5, { body: Buffer.from('bytes') }),
    )
    expect(span.name).toBe('POST /storage/v1/upload/resumable')
    const names = traced.collector.traceOf(span).map(({ name }) => name)
    expect(names).toEqual(expect.arrayContaining([expect.stringMatching(/^ResumableUploads\./)]))
  })

  it('of S3 shows the steps of its upload in parts', async () => {
    const url = `${traced.server.url}/storage/v1/s3/photos/by-s3.txt?uploads=`
    const method = 'POST'
    const sending = fetch(url, { method, headers: signRequest({ method, url }, traced.pair) })
    const span = await spanOf(sending)
    expect(span).toMatchObject({
      name: 'POST /storage/v1/s3/*',
      attributes: { 'http.response.status_code': 200, 'strongroom.protocol': 's3' },
    })
    const names = traced.collector.traceOf(span).map(({ name }) => name)
    expect(names).toContain('MultipartUploads.create')
  })
})

describe('a trace that a client has begun', () => {
  it('goes on here', async () => {
    const trace = foreignTrace()
    const headers = { traceparent: trace.traceparent, tracestate: 'vendor=its-own' }
    const span = await spanOf(upload('goes-on.txt', { headers }))
    expect(span).toMatchObject({
      traceId: trace.traceId,
      parentSpanId: trace.spanId,
      traceState: 'vendor=its-own',
    })
    expect(traced.collector.traceOf(span).length).toBeGreaterThan(2)
  })

  it('is left alone when the client does not record it', async () => {
    const trace = foreignTrace('00')
    const response = await upload('not-recorded.txt', { headers: { traceparent: trace.traceparent } })
    expect(response.status).toBe(201)
    await spanOf(upload('recorded.txt'))
    expect(traced.collector.spans.map(({ traceId }) => traceId)).not.toContain(trace.traceId)
  })

  it.each([
    ['no traceparent', 'garbage'],
    ['zeros', `00-${'0'.repeat(32)}-${'0'.repeat(16)}-01`],
    ['capitals', foreignTrace().traceparent.toUpperCase()],
    ['a version that there never is', foreignTrace().traceparent.replace(/^00/, 'ff')],
    ['more than its version has', `${foreignTrace().traceparent}-and-more`],
    ['two of them', `${foreignTrace().traceparent}, ${foreignTrace().traceparent}`],
    ['ten thousand characters', `01-${foreignTrace().traceparent.slice(3)}-${'a'.repeat(10_000)}`],
  ])('is none by %s', async (_what, traceparent) => {
    const span = await spanOf(upload('garbage.txt', { headers: { traceparent, 'x-upsert': 'true' } }))
    expect(span.parentSpanId).toBe('')
    expect(traceparent).not.toContain(span.traceId)
  })

  it('goes on without a tracestate that is too long', async () => {
    const trace = foreignTrace()
    const headers = { traceparent: trace.traceparent, tracestate: `a=${'b'.repeat(10_000)}` }
    const span = await spanOf(upload('long-state.txt', { headers }))
    expect(span).toMatchObject({ traceId: trace.traceId, traceState: '' })
  })
})

describe('no span says', () => {
  it('a token, a signature, a key, or what is in an object', async () => {
    const { server, collector } = traced
    await spanOf(upload('private.txt', { body: 'what nobody may read' }))
    const sign = await server.request('POST', '/storage/v1/object/sign/photos/private.txt', {
      body: { expiresIn: 60 },
    })
    const { signedURL } = (await sign.json()) as { signedURL: string }
    const token = new URL(signedURL, server.url).searchParams.get('token') ?? ''
    await spanOf(server.request('GET', `/storage/v1${signedURL}`, { token: null }))
    // A client that has encoded the question mark, too.
    await spanOf(server.request('GET', `/storage/v1${signedURL.replace('?', '%3F')}`, { token: null }))
    await spanOf(server.request('GET', `/storage/v1/nowhere/${token}`, { token: null }))
    const user = await server.token('somebody')
    await spanOf(
      server.request('GET', '/storage/v1/object/authenticated/photos/private.txt', { token: user }),
    )
    const hook = await makeHook(server, 'http://127.0.0.1:9/a-secret-path?key=a-secret-key')
    await spanOf(server.request('DELETE', `/storage/v1/webhook/${hook.id}`))
    for (const secret of [
      token,
      token.split('.')[2] ?? '',
      user,
      server.keys.serviceKey,
      server.keys.jwtSecret,
      hook.secret,
      traced.pair.secretAccessKey,
      'a-secret-path',
      'a-secret-key',
      'what nobody may read',
    ]) {
      expect(secret).not.toBe('')
      expect(collector.sent.includes(secret)).toBe(false)
    }
  })
})
