import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { roomIn } from '../../../src/database/connection/room.ts'
import { exercise } from '../../support/exercise.ts'
import { type ProviderPostgres, startProviderPostgres } from '../../support/provider-postgres.ts'
import { serveOn } from '../../support/server.ts'

/** Fewer connections than the settings want, as small plans have. */
describe('a database that allows few connections', () => {
  let provider: ProviderPostgres
  beforeAll(async () => {
    provider = await startProviderPostgres(18)
    await provider.newLogin('owner', 'createrole')
    await provider.newLogin('small', 'connection limit 6')
    await provider.admin`create database files owner owner`
    const server = await serveOn(provider.url('files', 'owner'))
    expect(server.logs.filter((line) => line.level >= 40)).toEqual([]) // it has no limit
    await server.close()
    await provider.admin`grant strongroom_server to small`
  })
  afterAll(() => provider?.stop())

  it('is served by those, with a warning that has the number', async () => {
    const server = await serveOn(provider.url('files', 'small'))
    try {
      expect(server.logs.filter((line) => line.level >= 40)).toMatchObject([
        {
          level: 40,
          allowed: 6,
          wanted: 10,
          pool: 1,
          msg: expect.stringMatching(/^PostgreSQL allows 6 connections \(connection limit of the login\)/),
        },
      ])
      await server.request('POST', '/storage/v1/bucket', { body: { name: 'crowd', policy: 'public' } })
      const names = Array.from({ length: 40 }, (_, index) => `o-${index}`)
      const statuses = await Promise.all(
        names.flatMap((name) => [
          server.request('POST', `/storage/v1/object/crowd/${name}`, { body: name }),
          server.request('GET', '/storage/v1/object/crowd/none', { token: null }),
          server.request('POST', '/storage/v1/object/list/crowd', { body: { prefix: '' } }),
        ]),
      )
      expect([...new Set(statuses.map((response) => response.status))].sort()).toEqual([200, 201, 404])
      await exercise(server)
      expect(server.logs.filter((line) => line.level >= 50)).toEqual([])
    } finally {
      await server.close()
    }
  })

  it.each<[allowed: number, wanted: number, processes: number, pool: number, questions: number]>([
    [100, 10, 1, 10, 4],
    [17, 10, 1, 10, 4],
    [16, 10, 1, 9, 4],
    [8, 10, 1, 1, 4],
    [6, 10, 1, 1, 2],
    [1, 10, 1, 1, 1],
    [40, 10, 3, 6, 4],
  ])(
    'of %i, %i wanted by each of %i processes, gives each a pool of %i and %i for questions',
    (...numbers) => {
      const [connections, wanted, processes, pool, questions] = numbers
      expect(roomIn({ connections, by: '' }, wanted, processes)).toEqual({ pool, questions })
    },
  )
})
