import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeWithNats, type NatsServer, startNats } from '../../support/nats.ts'
import { startTracedServer, type Traced } from '../../support/traced-server.ts'
import { until } from '../../support/wait.ts'

describeWithNats('a subscriber of NATS', () => {
  let nats: NatsServer
  let traced: Traced
  beforeAll(async () => {
    nats = await startNats()
    traced = await startTracedServer({ STORAGE_NATS_URL: `nats://${nats.host}` })
  })
  afterAll(async () => {
    await traced?.close()
    await nats?.remove()
  })

  it('goes on with the trace of what it hears of, by a header', async () => {
    const client = await nats.client()
    const heard: (string | undefined)[] = []
    client.subscribe('storage.>', {
      callback: (_, message) => void heard.push(message.headers?.get('traceparent')),
    })
    await client.flush()
    const response = await traced.server.request('POST', '/storage/v1/bucket', { body: { name: 'b' } })
    const { traceId, spanId } = await traced.collector.request(response.headers.get('x-request-id'))
    await until(() => heard.length > 0, 'it is heard')
    expect(heard).toEqual([`00-${traceId}-${spanId}-01`])
  })
})
