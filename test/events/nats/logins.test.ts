import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credsAuthenticator } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openLine } from '../../support/line.ts'
import {
  describeWithNats,
  hear,
  type NatsServer,
  natsPosition,
  startNats,
  startPublishing,
} from '../../support/nats.ts'
import { operatorMode } from '../../support/nats-keys.ts'
import type { TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/** What the log has said about NATS, from warnings on, or that it is back. */
const said = ({ logs }: TestServer) =>
  logs.flatMap(({ level, msg }) => (msg?.startsWith('NATS') && level >= 30 ? [`${level} ${msg}`] : []))
const WARNED = '40 NATS takes no events; trying again'

async function upload(server: TestServer, path: string): Promise<void> {
  const response = await server.request('POST', `/object/${path}`, { body: 'x' })
  expect(response.status).toBe(201)
}

describeWithNats('a NATS that asks who is there', () => {
  const nats = new Map<string, NatsServer>()
  beforeAll(async () => {
    nats.set('user', await startNats({ args: ['--user', 'me', '--pass', 'p@ss,wörd'] }))
    nats.set('token', await startNats({ args: ['--auth', 't0k/en'] }))
  })
  afterAll(async () => {
    for (const server of nats.values()) await server.remove()
  })

  it.each([
    ['user', 'me:p%40ss%2Cw%C3%B6rd', { user: 'me', pass: 'p@ss,wörd' }],
    ['token', 't0k%2Fen', { token: 't0k/en' }],
  ])('lets a server in whose URL has the %s', async (kind, login, credentials) => {
    const broker = nats.get(kind)
    if (!broker) throw new Error('it was started')
    // The first one of these is nobody.
    const server = await startPublishing(`nats://${login}@127.0.0.1:1,nats://${login}@${broker.host}`)
    try {
      const heard = await hear(await broker.client(credentials), 'storage.>')
      await server.createBucket('b')
      await until(() => heard.length > 0, 'it is heard')
      expect(heard).toMatchObject([{ event: { bucket: 'b' } }])
    } finally {
      await server.close()
    }
  })

  it('is told of once when the password is wrong, without the password; uploads work', async () => {
    const line = await openLine(`http://${nats.get('user')?.host}`)
    const server = await startPublishing(`nats://me:hunter2@${line.url.slice('http://'.length)}`)
    try {
      await server.createBucket('b')
      await upload(server, 'b/1')
      // Each try is two of them.
      await until(() => line.connections >= 5, 'it was tried more than twice')
      expect(said(server)).toEqual([WARNED])
      expect(server.logs).toContainEqual(
        expect.objectContaining({
          err: expect.objectContaining({ message: expect.stringMatching(/authoriz/i) }),
        }),
      )
      expect(JSON.stringify(server.logs)).not.toContain('hunter2')
    } finally {
      await server.close()
      await line.close()
    }
  })

  it('lets a server in that has a file of credentials, also one that was wrong before', async () => {
    const { settings, credentials } = operatorMode()
    const broker = await startNats({ settings })
    const folder = await mkdtemp(join(tmpdir(), 'strongroom-credentials-'))
    const path = join(folder, 'user.creds')
    await writeFile(path, 'nothing yet')
    const server = await startPublishing(`nats://${broker.host}`, { STORAGE_NATS_CREDENTIALS: path })
    try {
      await until(() => said(server).length > 0, 'the log says that it is not let in')
      await writeFile(path, credentials)
      const login = { authenticator: credsAuthenticator(Buffer.from(credentials)) }
      const heard = await hear(await broker.client(login), 'storage.>')
      await server.createBucket('b')
      await until(() => heard.length > 0, 'it is heard')
      expect(heard).toMatchObject([{ event: { bucket: 'b' } }])
    } finally {
      await server.close()
      await broker.remove()
      await rm(folder, { recursive: true })
    }
  })

  it('is told of when it lets a server say some things only, and nothing is passed over', async () => {
    const settings = `authorization { users = [
      { user: all, password: all },
      { user: me, password: x, permissions: { publish: { deny: ["$JS.API.>", "storage.object.updated"] } } }
    ] }`
    const broker = await startNats({ jetstream: true, settings })
    const server = await startPublishing(`nats://me:x@${broker.host}`)
    try {
      const heard = await hear(await broker.client({ user: 'all', pass: 'all' }), 'storage.object.>')
      await server.createBucket('b')
      await upload(server, 'b/1')
      await until(() => heard.length > 0, 'it is heard')
      const before = heard[0]?.event.id
      await server.request('PUT', '/object/b/1', { body: 'y' })
      await server.request('DELETE', '/object/b/1')
      await until(() => said(server).length > 0, 'the log says that it may not')
      expect(server.logs).toContainEqual(
        expect.objectContaining({
          err: expect.objectContaining({ message: expect.stringMatching(/permission/i) }),
        }),
      )
      expect(heard.map(({ subject }) => subject)).toEqual(['storage.object.created'])
      expect(await natsPosition(server)).toBe(before)
    } finally {
      await server.close()
      await broker.remove()
    }
  })

  it('is not spoken to without TLS when the settings want TLS', async () => {
    const { host = '' } = nats.get('user') ?? {}
    const server = await startPublishing(`tls://me:hunter2@${host}`)
    try {
      await server.createBucket('b')
      await upload(server, 'b/1')
      await until(() => said(server).length > 0, 'the log says so')
      expect(server.logs).toContainEqual(
        expect.objectContaining({
          err: expect.objectContaining({ message: expect.stringContaining('tls') }),
        }),
      )
    } finally {
      await server.close()
    }
  })
})
