import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())

const told = async (path: string, headers = {}): Promise<unknown> =>
  (await server.request('GET', `/storage/v1/bucket${path}`, { headers })).json()

const status = async (bucket: string) => Object(await told(`/${bucket}`)).versioning_status

const change = (bucket: string, to: string) =>
  server.request('PUT', `/storage/v1/bucket/${bucket}`, { body: { versioning_status: to } })

describe('versioning_status of a bucket', () => {
  it('is DISABLED, unless it is said when the bucket is made', async () => {
    const [plain, versioned] = [`b-${randomUUID()}`, `b-${randomUUID()}`]
    await server.createBucket(plain)
    await server.createBucket(versioned, { versioning_status: 'ENABLED' })
    expect([await status(plain), await status(versioned)]).toEqual(['DISABLED', 'ENABLED'])
    expect(await told(`?search=${versioned}`)).toMatchObject([{ versioning_status: 'ENABLED' }])
  })

  it('cannot be SUSPENDED from the beginning', async () => {
    const body = { name: `b-${randomUUID()}`, versioning_status: 'SUSPENDED' }
    expect((await server.request('POST', '/storage/v1/bucket', { body })).status).toBe(400)
  })

  it('goes from DISABLED to ENABLED, and to and fro with SUSPENDED', async () => {
    const bucket = `b-${randomUUID()}`
    await server.createBucket(bucket)
    for (const to of ['DISABLED', 'ENABLED', 'ENABLED', 'SUSPENDED', 'SUSPENDED', 'ENABLED']) {
      expect((await change(bucket, to)).status).toBe(200)
      expect(await status(bucket)).toBe(to)
    }
  })

  it.each([
    [[], 'DISABLED', 'SUSPENDED'],
    [['ENABLED'], 'ENABLED', 'DISABLED'],
    [['ENABLED', 'SUSPENDED'], 'SUSPENDED', 'DISABLED'],
  ])('after %j does not go from %s to %s', async (before, from, to) => {
    const bucket = `b-${randomUUID()}`
    await server.createBucket(bucket)
    for (const step of before) await change(bucket, step)
    const answer = await change(bucket, to)
    expect(answer.status).toBe(400)
    expect(await answer.json()).toMatchObject({
      code: 'InvalidParameter',
      message: `Cannot transition bucket versioning status from ${from} to ${to}`,
    })
    expect(await status(bucket)).toBe(from)
  })

  it('is not told to Python clients that break on it', async () => {
    const headers = { 'user-agent': 'supabase-py/storage3 v0.11.0' }
    const bucket = `b-${randomUUID()}`
    await server.createBucket(bucket)
    expect(await told(`/${bucket}`, headers)).not.toHaveProperty('versioning_status')
    const listed = await told(`?search=${bucket}`, headers)
    expect(listed).toMatchObject([{ id: bucket }])
    expect(listed).not.toHaveProperty('0.versioning_status')
  })
})

describe('a bucket that has nothing but a history', () => {
  const bucketWithHistory = async () => {
    const bucket = `b-${randomUUID()}`
    await server.createBucket(bucket, { versioning_status: 'ENABLED' })
    const path = `/storage/v1/object/${bucket}/a`
    await server.request('PUT', path, { body: 'one' })
    await server.request('PUT', path, { body: 'two' })
    await server.request('DELETE', path)
    return bucket
  }

  it('is not empty', async () => {
    const bucket = await bucketWithHistory()
    const answer = await server.request('DELETE', `/storage/v1/bucket/${bucket}`)
    expect(answer.status).toBe(409)
    expect(await answer.json()).toMatchObject({ code: 'ResourceNotEmpty' })
  })

  it('can be emptied, bytes and all, and is deleted then', async () => {
    const before = await server.storedFiles()
    const bucket = await bucketWithHistory()
    await server.request('PUT', `/storage/v1/object/${bucket}/b`, { body: 'three' })
    expect(await server.storedFiles()).toHaveLength(before.length + 3)
    expect((await server.request('POST', `/storage/v1/bucket/${bucket}/empty`)).status).toBe(200)
    expect(await server.storedFiles()).toEqual(before)
    expect((await server.request('DELETE', `/storage/v1/bucket/${bucket}`)).status).toBe(200)
  })
})
