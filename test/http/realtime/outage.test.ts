import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { RealtimeClients, subscribed } from './clients.ts'

let proxy: PostgresProxy
let server: TestServer
const clients = new RealtimeClients(() => server)
beforeAll(async () => {
  proxy = await openPostgresProxy()
  server = await startTestServer({}, { databaseUrl: (name) => proxy.url(name) })
})
afterEach(() => clients.close())
afterAll(async () => {
  await server.close()
  await proxy.close()
})

it('clients that come while the database is away get in when it is back, and those who were there miss nothing', async () => {
  await server.createBucket('open', { policy: 'public' })
  const heard: string[] = []
  const early = (await clients.app()).channel('storage')
  early.on('broadcast', { event: '*' }, ({ payload }) => heard.push(`early ${payload.path}`))
  await subscribed(early)

  proxy.mode = 'refuse'
  proxy.cutAll()
  const reasons: string[] = []
  let isIn = false
  const late = (await clients.app()).channel('storage')
  late.on('broadcast', { event: '*' }, ({ payload }) => heard.push(`late ${payload.path}`))
  late.subscribe((status, error) => {
    if (status === 'SUBSCRIBED') isIn = true
    if (status === 'CHANNEL_ERROR') reasons.push(String(error?.message))
  })
  await until(() => reasons.length > 0, 'the client is told')
  expect(reasons[0]).toContain('The database is not available')
  expect(isIn).toBe(false)
  await server.admin`insert into storage.objects (bucket_id, name) values ('open', 'in the outage')`

  proxy.mode = 'pass'
  await until(() => isIn, 'the client is in')
  await server.admin`insert into storage.objects (bucket_id, name) values ('open', 'after')`
  await until(() => heard.filter((line) => line.endsWith('after')).length === 2, 'both hear the last')
  expect(heard.filter((line) => line.startsWith('early'))).toEqual(['early in the outage', 'early after'])
  expect(heard.filter((line) => line.startsWith('late'))).toEqual(['late after'])
})
