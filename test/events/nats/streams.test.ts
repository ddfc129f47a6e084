import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  contents,
  describeWithNats,
  hear,
  type NatsServer,
  natsPosition,
  startNats,
  startPublishing,
} from '../../support/nats.ts'
import { until } from '../../support/wait.ts'

describeWithNats('a stream of NATS', () => {
  let nats: NatsServer
  let streams: JetStreamManager
  beforeAll(async () => {
    nats = await startNats({ jetstream: true })
    streams = await jetstreamManager(await nats.client())
  })
  afterAll(() => nats?.remove())

  it('has each event once, although some were sent twice', async () => {
    await streams.streams.add({ name: 'once', subjects: ['once.>'] })
    const server = await startPublishing(`nats://${nats.host}`, { STORAGE_NATS_PREFIX: 'once' })
    try {
      const heard = await hear(await nats.client(), 'once.>')
      await server.createBucket('b')
      await server.request('POST', '/object/b/a', { body: 'x' })
      await server.request('PUT', '/object/b/a', { body: 'y' })
      await until(() => heard.length >= 3, 'three are sent')
      const last = heard[2]?.event.id ?? 0
      await until(async () => (await natsPosition(server)) === last, 'it is kept that they are')

      await server.admin`update storage.event_sinks set position = position - 3`
      await server.request('POST', '/object/b/c', { body: 'x' })
      await until(() => heard.length >= 8, 'the first three are sent again')
      await until(async () => (await natsPosition(server)) === last + 1, 'it is kept that they are')
      const ids = heard.map(({ event }) => event.id - last)
      expect(ids).toEqual([-2, -1, 0, 1, -2, -1, 0, 1])
      expect((await contents(streams, 'once')).map(({ id }) => id - last)).toEqual([-2, -1, 0, 1])
    } finally {
      await server.close()
    }
  })

  it('has each object’s events in order, also when it refuses one of them for a while', async () => {
    await streams.streams.add({ name: 'narrow', subjects: ['narrow.>'], max_msg_size: 1000 })
    const server = await startPublishing(`nats://${nats.host}`, { STORAGE_NATS_PREFIX: 'narrow' })
    const arrived = async () =>
      (await contents(streams, 'narrow')).map(({ type, path }) => `${type.split('.').at(-1)} ${path}`)
    try {
      await server.createBucket('b')
      await server.admin`insert into storage.objects (bucket_id, name, metadata)
        values ('b', 'vast', jsonb_build_object('mimetype', repeat('x', 1000))), ('b', 'other', null)`
      await server.admin`update storage.objects set metadata = '{"mimetype": "x"}' where name = 'vast'`
      await until(async () => (await arrived()).includes('created other'), 'the other one is there')
      const again = () => server.logs.filter(({ msg }) => msg === 'NATS takes events again')
      expect(await arrived()).toEqual(['created null', 'created other'])
      expect(again()).toEqual([])

      await streams.streams.update('narrow', { max_msg_size: -1 })
      await until(async () => (await arrived()).length >= 4, 'all are there')
      expect(await arrived()).toEqual(['created null', 'created other', 'created vast', 'updated vast'])
      await until(() => again().length > 0, 'the log says so')
      const refusals = server.logs.filter(({ msg }) => msg === 'NATS takes no events; trying again')
      expect(refusals).toMatchObject([{ err: { message: expect.stringContaining('the stream refuses') } }])
    } finally {
      await server.close()
    }
  })
})
