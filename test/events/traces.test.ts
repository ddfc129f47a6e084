import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openEvents } from '../support/event-stream.ts'
import type { ReceivedSpan } from '../support/otlp-receiver.ts'
import { startTracedServer, type Traced } from '../support/traced-server.ts'
import { until } from '../support/wait.ts'
import { startReceiver } from '../support/webhook-receiver.ts'
import { EAGER_WEBHOOKS, makeHook } from '../support/webhooks.ts'

/** In either mode of the wire. */
describe.each([{}, { STORAGE_COMPAT: 'supabase' }])('an event of a server with %o', (mode) => {
  let traced: Traced
  beforeAll(async () => {
    traced = await startTracedServer({ ...EAGER_WEBHOOKS, ...mode })
    await traced.server.createBucket('photos')
  })
  afterAll(() => traced.close())

  /** Uploads something, and waits for the request's span. */
  async function spanOfUpload(name: string, headers: Record<string, string> = {}): Promise<ReceivedSpan> {
    const path = `/storage/v1/object/photos/${name}`
    const response = await traced.server.request('POST', path, { body: name, headers })
    return traced.collector.request(response.headers.get('x-request-id'))
  }

  it('belongs to the trace of its request, for whoever hears of it', async () => {
    const { server, collector } = traced
    const receiver = await startReceiver()
    const plain = await startReceiver()
    const hooks = [
      await makeHook(server, receiver.url),
      await makeHook(server, plain.url, { format: 'supabase' }),
    ]
    const reader = await openEvents(server)
    const span = await spanOfUpload('event.txt')
    const traceparent = `00-${span.traceId}-${span.spanId}-01`

    const find = () => reader.events().find(({ path }) => path === 'event.txt')
    await until(() => find() !== undefined, 'it is heard')
    expect(find()).toMatchObject({ traceparent })
    reader.close()

    await until(() => receiver.deliveries.length > 0 && plain.deliveries.length > 0, 'it is delivered')
    for (const [index, { deliveries }] of [receiver, plain].entries()) {
      const sent = deliveries[0]?.headers.traceparent
      const delivery = await collector.span(
        'the delivery',
        ({ attributes }) => attributes['strongroom.webhook'] === hooks[index]?.id,
      )
      expect(delivery).toMatchObject({ name: 'POST', kind: 'client', parentSpanId: span.spanId })
      expect(sent).toBe(`00-${span.traceId}-${delivery.spanId}-01`)
    }
    expect(receiver.deliveries[0]?.json).toMatchObject({ data: { traceparent } })
    for (const { id } of hooks) await server.request('DELETE', `/storage/v1/webhook/${id}`)
    await Promise.all([receiver.close(), plain.close()])
  })

  it('of a request whose client does not record its trace says so', async () => {
    const traceId = randomUUID().replaceAll('-', '')
    const headers = { traceparent: `00-${traceId}-${traceId.slice(0, 16)}-00` }
    await traced.server.request('POST', '/storage/v1/object/photos/unrecorded.txt', { body: 'x', headers })
    const [row] = await traced.server.admin`
      select traceparent from storage.events where name = 'unrecorded.txt'`
    expect(row?.traceparent).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`))
  })

  it('of plain SQL belongs to none', async () => {
    const { admin } = traced.server
    await admin`insert into storage.buckets (id, name) values ('by-sql', 'by-sql')`
    expect(await admin`select traceparent from storage.events where bucket_id = 'by-sql'`).toEqual([
      { traceparent: null },
    ])
  })
})
