import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { besideInnocent, FEWEST } from './support/innocent.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())

/** Waits until the innocent client has stored something. */
async function aStoredObject(): Promise<{ bucket: string; name: string }> {
  const find = () => server.admin<{ bucket: string; name: string }[]>`
    select bucket_id as bucket, name from storage.objects where bucket_id like 'innocent-%'
    order by created_at desc limit 1`
  await until(async () => (await find()).length > 0, 'something is stored')
  const [found] = await find()
  if (!found) throw new Error('it was there')
  return found
}

describe('the innocent client beside an attack', () => {
  it('has nothing to say of an attack that is none', async () => {
    const { result, uploads, slowdown } = await besideInnocent(server, async () => 'done')
    expect(result).toBe('done')
    expect(uploads).toBeGreaterThanOrEqual(FEWEST)
    expect(slowdown).toBeGreaterThan(0)
  })

  it('says what the attack has thrown', async () => {
    await expect(
      besideInnocent(server, async () => {
        throw new Error('of the attacker')
      }),
    ).rejects.toThrow('of the attacker')
  })

  it('notices other bytes than it has stored, and an object that is gone', async () => {
    const attack = async () => {
      const { bucket, name } = await aStoredObject()
      await server.request('PUT', `/object/${bucket}/${name}`, { body: 'other' })
      await server.request('DELETE', `/object/${bucket}/0/photo.bin`)
      return name
    }
    const failure = await besideInnocent(server, attack).catch((error: Error) => error.message)
    expect(failure).toMatch(/photo\.bin has other bytes than were stored/)
    expect(failure).toMatch(/\/0\/photo\.bin: 404/)
  })

  it('notices requests that are refused', async () => {
    const attack = async () => {
      const { bucket } = await aStoredObject()
      await server.request('PUT', `/bucket/${bucket}`, { body: { file_size_limit: 100 } })
    }
    await expect(besideInnocent(server, attack)).rejects.toThrow(/POST .*: 413/)
  })

  it('notices a slow server', async () => {
    await expect(besideInnocent(server, async () => {}, { slowerAtMost: 0 })).rejects.toThrow(
      /times as long as before the attack/,
    )
  })
})
