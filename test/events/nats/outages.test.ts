import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { jetstreamManager } from '@nats-io/jetstream'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  contents,
  describeWithNats,
  type NatsServer,
  startNats,
  startPublishing,
} from '../../support/nats.ts'
import type { TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/** What the log has said about NATS, from warnings on, or that it is back. */
const said = ({ logs }: TestServer) =>
  logs.flatMap(({ level, msg }) => (msg?.startsWith('NATS') && level >= 30 ? [`${level} ${msg}`] : []))
const WARNED = '40 NATS takes no events; trying again'
const BACK = '30 NATS takes events again'

async function upload(server: TestServer, path: string): Promise<void> {
  const response = await server.request('POST', `/object/${path}`, { body: 'x' })
  expect(response.status).toBe(201)
}

async function uploadAll(server: TestServer, paths: string[]): Promise<void> {
  for (const path of paths) await upload(server, path)
}

describeWithNats('while NATS is away', () => {
  let nats: NatsServer
  beforeAll(async () => {
    nats = await startNats({ jetstream: true })
    await (await streams()).streams.add({ name: 'all', subjects: ['storage.object.>'] })
  })
  afterAll(() => nats?.remove())

  const streams = async () => jetstreamManager(await nats.client())

  it('servers start and uploads work; once it is there, and there again, it gets all in order', async () => {
    await nats.stop()
    const server = await startPublishing(`nats://${nats.host}`)
    try {
      await server.createBucket('b')
      await upload(server, 'b/1')
      await until(() => said(server).length > 0, 'the log says that NATS is away')
      await nats.start()
      let at = await streams()
      const arrived = async () => (await contents(at, 'all')).map(({ path }) => path)
      await until(async () => (await arrived()).length >= 1, 'the first one is there')
      await upload(server, 'b/2')
      await until(async () => (await arrived()).length >= 2, 'the second one is there')
      const uploads = uploadAll(server, ['b/3', 'b/4', 'b/5', 'b/6'])
      await nats.stop()
      await uploads
      await until(() => said(server).length >= 3, 'the log says that NATS is away')
      await nats.start()
      at = await streams()
      await until(async () => (await arrived()).length >= 6, 'the others are there')
      expect(await arrived()).toEqual(['1', '2', '3', '4', '5', '6'])
      await until(() => said(server).length >= 4, 'the log says that NATS is back')
      await nats.stop()
      await until(() => said(server).length >= 5, 'the log says that NATS is away, with nothing to send')
      expect(said(server)).toEqual([WARNED, BACK, WARNED, BACK, WARNED])
    } finally {
      await server.close()
    }
  })

  it('also when it is there and says nothing, a server works, and can be stopped', async () => {
    const sockets: Socket[] = []
    const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const server = await startPublishing(`nats://127.0.0.1:${(silent.address() as AddressInfo).port}`)
    try {
      await until(() => sockets.length > 0, 'NATS is called')
      await server.createBucket('b')
      await upload(server, 'b/1')
    } finally {
      await server.close()
      await until(() => sockets.every((socket) => socket.resume().closed), 'nothing is left of the call')
      silent.close()
    }
  })
})
