import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, it } from 'vitest'
import { openEvents } from '../support/event-stream.ts'
import { startTestServer } from '../support/server.ts'

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
