import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { endTurn, takeTurn } from '../../../src/database/connection/turns.ts'
import { describeWithNats, hear, type NatsServer, startNats, startPublishing } from '../../support/nats.ts'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

describeWithNats('a subscriber of NATS', () => {
  let nats: NatsServer
  beforeAll(async () => {
    nats = await startNats()
  })
  afterAll(() => nats?.remove())

  describe('of a server as it comes', () => {
    let server: TestServer
    beforeAll(async () => {
      server = await startPublishing(`nats://${nats.host}`)
    })
    afterAll(() => server?.close())

    it('hears what happens to buckets and objects, in order, with what every listener gets', async () => {
      const heard = await hear(await nats.client(), 'storage.>')
      await server.createBucket('b')
      const headers = { 'content-type': 'text/plain' }
      await server.request('POST', '/object/b/a.txt', { body: 'one', headers })
      await server.request('PUT', '/object/b/a.txt', { body: 'twelve', headers })
      await server.request('POST', '/object/move', {
        body: { bucketId: 'b', sourceKey: 'a.txt', destinationKey: 'é/b.txt' },
      })
      await server.request('DELETE', '/object/b/%C3%A9/b.txt')
      await server.request('DELETE', '/bucket/b')
      await until(() => heard.length >= 6, 'all is heard')

      expect(heard.map(({ subject, event }) => [subject, event.type, event.path, event.size])).toEqual([
        ['storage.bucket.created', 'storage.bucket.created', null, null],
        ['storage.object.created', 'storage.object.created', 'a.txt', 3],
        ['storage.object.updated', 'storage.object.updated', 'a.txt', 6],
        ['storage.object.updated', 'storage.object.updated', 'é/b.txt', 6],
        ['storage.object.deleted', 'storage.object.deleted', 'é/b.txt', 6],
        ['storage.bucket.deleted', 'storage.bucket.deleted', null, null],
      ])
      const first = heard[0]?.event.id ?? 0
      expect(heard.map(({ messageId }) => messageId)).toEqual(heard.map((_, n) => `evt_${first + n}`))
      expect(heard[3]?.event).toEqual({
        id: first + 3,
        type: 'storage.object.updated',
        bucket: 'b',
        bucket_id: 'b',
        path: 'é/b.txt',
        object_id: heard[1]?.event.object_id,
        old_bucket: 'b',
        old_path: 'a.txt',
        size: 6,
        content_type: 'text/plain',
        checksum: expect.stringMatching(/^[0-9a-f]{64}$/),
        version: expect.any(String),
        owner_id: null,
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      })
    })

    it('hears of more than fits into one page, each once and in order', async () => {
      const heard = await hear(await nats.client(), 'storage.>')
      await server.admin`insert into storage.buckets (id, name) values ('many', 'many')`
      await server.admin`
        insert into storage.objects (bucket_id, name) select 'many', 'n' || n from generate_series(1, 250) n`
      await until(() => heard.length >= 251, 'all is heard')
      expect(heard.slice(1).map(({ event }) => event.path)).toEqual(
        Array.from({ length: 250 }, (_, n) => `n${n + 1}`),
      )
    })

    it('hears nothing of an upload that was refused', async () => {
      const heard = await hear(await nats.client(), 'storage.object.>')
      await server.createBucket('strict', { allowed_mime_types: ['image/*'] })
      const upload = (contentType: string) =>
        server.request('POST', '/object/strict/a', { body: 'x', headers: { 'content-type': contentType } })
      expect((await upload('text/plain')).status).toBe(415)
      expect((await upload('image/png')).status).toBe(201)
      await until(() => heard.length > 0, 'the one is heard')
      expect(heard.map(({ event }) => event.content_type)).toEqual(['image/png'])
    })

    it('hears the rest although one event is larger than NATS takes, which the log tells', async () => {
      const heard = await hear(await nats.client(), 'storage.object.created')
      await server.createBucket('large')
      await server.admin`insert into storage.objects (bucket_id, name, metadata)
        values ('large', 'vast', jsonb_build_object('mimetype', repeat('x', 1100000))), ('large', 'small', null)`
      await until(() => heard.length > 0, 'the small one is heard')
      expect(heard.map(({ event }) => event.path)).toEqual(['small'])
      const complaints = server.logs.filter(({ msg }) => msg?.includes('larger than NATS takes'))
      expect(complaints).toMatchObject([{ subject: 'storage.object.created' }])
    })
  })

  it('hears it under another name when the settings say so', async () => {
    const server = await startPublishing(`nats://${nats.host}`, { STORAGE_NATS_PREFIX: 'files.eu' })
    try {
      const heard = await hear(await nats.client(), 'files.>')
      await server.createBucket('b')
      await until(() => heard.length > 0, 'it is heard')
      expect(heard).toMatchObject([
        { subject: 'files.eu.bucket.created', event: { type: 'storage.bucket.created', bucket: 'b' } },
      ])
    } finally {
      await server.close()
    }
  })

  it('hears what happens from the start on, also when the server comes to send it late', async () => {
    const server = await startTestServer()
    const session = await server.database.openSession()
    let late: Served | undefined
    try {
      expect(await takeTurn(session.sql, 'sink nats')).toBe(true)
      const heard = await hear(await nats.client(), 'late.object.>')
      await server.createBucket('b')
      late = await server.beside({
        STORAGE_NATS_URL: `nats://${nats.host}`,
        STORAGE_NATS_PREFIX: 'late',
      })
      expect((await late.request('POST', '/object/b/first', { body: 'x' })).status).toBe(201)
      await endTurn(session.sql, 'sink nats')
      expect((await late.request('POST', '/object/b/second', { body: 'x' })).status).toBe(201)
      await until(() => heard.some(({ event }) => event.path === 'second'), 'the second one is heard')
      expect(heard.map(({ event }) => event.path)).toEqual(['first', 'second'])
    } finally {
      await session.close()
      await late?.close()
      await server.close()
    }
  })

  it('hears each event once from two servers, also after the one that sends is stopped', async () => {
    const server = await startTestServer()
    const env = { STORAGE_NATS_URL: `nats://${nats.host}`, STORAGE_NATS_PREFIX: 'two' }
    const running: Served[] = []
    try {
      const heard = await hear(await nats.client(), 'two.object.>')
      await server.createBucket('b')
      const upload = async (by: Served, name: string) => {
        expect((await by.request('POST', `/object/b/${name}`, { body: 'x' })).status).toBe(201)
      }
      const sender = await server.beside(env)
      running.push(sender)
      const turns = () => server.admin`select from strongroom.turns where name = 'sink nats'`
      await until(async () => (await turns()).length > 0, 'the first one sends')
      const heir = await server.beside(env)
      running.push(heir)

      await Promise.all([upload(sender, 'a'), upload(heir, 'b'), upload(server, 'c')])
      await until(() => heard.length >= 3, 'all is heard')
      await sender.close()
      running.shift()
      await Promise.all([upload(heir, 'd'), upload(server, 'e')])
      await until(() => heard.length >= 5, 'all is heard')
      expect(
        heard
          .slice(0, 3)
          .map(({ event }) => event.path)
          .sort(),
      ).toEqual(['a', 'b', 'c'])
      expect(
        heard
          .slice(3)
          .map(({ event }) => event.path)
          .sort(),
      ).toEqual(['d', 'e'])
    } finally {
      for (const one of running) await one.close()
      await server.close()
    }
  })
})
