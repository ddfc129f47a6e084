import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, it } from 'vitest'
import { openEvents } from '../support/event-stream.ts'
import { RawConnection, rawRequest } from '../support/raw-http.ts'
import { startTestServer } from '../support/server.ts'

it('lets a slow reader have all the answers that it has asked for', async () => {
  const server = await startTestServer({ STORAGE_SHUTDOWN_TIMEOUT: '1h' })
  await server.createBucket('open', { public: true })
  await server.request('PUT', '/storage/v1/object/open/large.txt', { body: 'x'.repeat(200_000) })
  const reader = await RawConnection.open(server.url)
  const asked = rawRequest('GET', '/storage/v1/object/public/open/large.txt')
  await reader.send(Buffer.concat(Array.from({ length: 60 }, () => asked))) // more than the kernel takes
  await reader.firstBytes()
  const closed = server.close()
  reader.goOn()
  let whole = 0
  for (let index = 0; index < 60; index++) if ((await reader.response()).complete) whole++
  expect(whole).toBe(60)
  await closed
})

it('does not wait for connections on which nothing was sent, nor for streams of events', async () => {
  const server = await startTestServer({ STORAGE_SHUTDOWN_TIMEOUT: '1h' })
  const { hostname, port } = new URL(server.url)
  const silent = connect(Number(port), hostname)
  await once(silent, 'connect')
  const reader = await openEvents(server)
  const gone = once(silent, 'close')
  await server.close()
  await Promise.all([gone, reader.ended])
  expect(server.logs.filter((line) => line.level >= 40)).toEqual([])
})

it('says for STORAGE_SHUTDOWN_DELAY that it is about to stop, and answers meanwhile', async () => {
  const server = await startTestServer({ STORAGE_SHUTDOWN_DELAY: '5s' })
  await server.createBucket('open', { public: true })
  await server.request('PUT', '/object/open/a.txt', { body: 'here' })
  const ask = (path: string) => fetch(`${server.url}${path}`)
  expect((await ask('/health/ready')).status).toBe(200)
  const closed = server.close()
  const ready = await ask('/health/ready')
  expect([ready.status, await ready.json()]).toEqual([503, { healthy: false, stopping: true }])
  expect((await ask('/health')).status).toBe(200)
  for (const path of ['/object/public/open/a.txt', '/object/public/open/a.txt']) {
    const answer = await ask(path) // the second one from memory
    expect([answer.status, answer.headers.get('connection'), await answer.text()]).toEqual([
      200,
      'close',
      'here',
    ])
  }
  await closed
  await expect(ask('/health/ready')).rejects.toThrow()
})
