import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Radosgw, startRadosgw } from '../support/radosgw.ts'
import { describeWithS3, s3Env } from '../support/s3.ts'
import { IN_FILES, startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'
import { underLoad } from './under-load.ts'

const ROUNDS = isFull ? 10 : 2

/** What is not there is noticed soon, though every request is tried twice. */
const HASTY = {
  STORAGE_S3_ATTEMPTS: '2',
  STORAGE_S3_CONNECT_TIMEOUT: '1s',
  STORAGE_S3_TIMEOUT: '2s',
}

const tally = new Tally('store outage')

describeWithS3('a store that is stopped, and started again', () => {
  let store: Radosgw
  let server: TestServer

  beforeAll(async () => {
    store = await startRadosgw()
    server = await startTestServer({ ...IN_FILES, ...(await s3Env(store)), ...HASTY })
  })
  afterAll(async () => {
    await server?.close()
    await store?.stop()
    tally.print()
    expect([tally.lost, tally.leaked]).toEqual([0, 0])
  })

  const health = async () => (await server.request('GET', '/health')).json() as Promise<{ backend: string }>

  async function becomes(backend: 'ok' | 'failing'): Promise<void> {
    await until(async () => (await health()).backend === backend, `the backend is ${backend}`)
    expect(await health()).toMatchObject({ healthy: backend === 'ok', database: 'ok' })
  }

  it('answers 503 and says when to come back, loses nothing, and works again by itself', {
    timeout: ROUNDS * 180_000,
  }, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await underLoad(server, `outage-${round}`, tally, async (load) => {
        await store.stopGateway()
        await load.answers(503, 10)
        await becomes('failing')
        await store.startGateway()
        await becomes('ok')
      })
    }
  })
})
