import { afterAll, beforeAll, expect, it } from 'vitest'
import { treeOf } from '../../support/otlp-receiver.ts'
import { describeWithS3, s3Env } from '../../support/s3.ts'
import { openS3Proxy, type S3Proxy } from '../../support/s3-proxy.ts'
import { startTracedServer, type Traced } from '../../support/traced-server.ts'

describeWithS3('a traced server with a store', (s3) => {
  let proxy: S3Proxy
  let traced: Traced
  beforeAll(async () => {
    proxy = await openS3Proxy(s3)
    traced = await startTracedServer({ ...(await s3Env(proxy)), STORAGE_INLINE_SIZE: '0' })
    await traced.server.createBucket('photos')
  })
  afterAll(async () => {
    await traced?.close()
    await proxy?.close()
  })

  const upload = async (name: string) => {
    const response = await traced.server.request('POST', `/storage/v1/object/photos/${name}`, { body: name })
    const span = await traced.collector.request(response.headers.get('x-request-id'))
    return { status: response.status, span, trace: traced.collector.traceOf(span) }
  }

  it('shows what it asks the store, and tells it of the trace past the signature', async () => {
    proxy.requests.length = 0
    const { status, span, trace } = await upload('a.txt')
    expect(status).toBe(201)
    expect(treeOf(trace, span)).toEqual(expect.arrayContaining(['    S3Backend.write', '      S3.PutObject']))
    const put = trace.find(({ name }) => name === 'S3.PutObject')
    expect(put).toMatchObject({
      kind: 'client',
      attributes: { 'rpc.system': 'aws-api', 'rpc.method': 'PutObject', 'server.address': '127.0.0.1' },
    })
    const sent = proxy.requests.find(({ method }) => method === 'PUT')
    expect(sent?.headers.traceparent).toBe(`00-${span.traceId}-${put?.spanId}-01`)
    expect(sent?.headers.authorization).toMatch(/SignedHeaders=(?!.*traceparent)/)
  })

  it('shows each attempt, and the store takes the second one’s signature, too', async () => {
    proxy.fail(
      { at: 'before', what: { status: 503, code: 'SlowDown' } },
      { times: 1, when: ({ method }) => method === 'PUT' },
    )
    const { status, trace } = await upload('b.txt')
    expect(status).toBe(201)
    const attempts = trace.filter(({ name }) => name === 'S3.PutObject')
    expect(attempts.map(({ isError }) => isError)).toEqual([true, false])
  })
})
