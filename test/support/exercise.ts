import { randomUUID } from 'node:crypto'
import { expect } from 'vitest'
import type { Served } from './server.ts'

/** Uploads, reads, lists, signs, moves, copies and deletes. */
export async function exercise(server: Served): Promise<void> {
  const bucket = `b-${randomUUID()}`
  const ask = async (method: string, path: string, body?: string | object) => {
    const response = await server.request(method, `/storage/v1${path}`, body === undefined ? {} : { body })
    return [response.status, await response.text()] as const
  }
  const done = async (...request: Parameters<typeof ask>) => {
    const [status, text] = await ask(...request)
    expect([status, text]).toEqual([expect.toSatisfy((code: number) => code < 300), text])
    return text
  }
  await done('POST', '/bucket', { name: bucket })
  await done('POST', `/object/${bucket}/dir/a`, 'bytes')
  await done('PUT', `/object/${bucket}/dir/a`, 'other bytes')
  await done('POST', `/object/${bucket}/large`, 'x'.repeat(400_000))
  expect(await done('GET', `/object/${bucket}/dir/a`)).toBe('other bytes')
  const { signedURL } = JSON.parse(await done('POST', `/object/sign/${bucket}/dir/a`, { expiresIn: 60 }))
  expect(await done('GET', signedURL)).toBe('other bytes')
  await done('POST', '/object/move', { bucketId: bucket, sourceKey: 'dir/a', destinationKey: 'b' })
  await done('POST', '/object/copy', { bucketId: bucket, sourceKey: 'b', destinationKey: 'c' })
  const list = JSON.parse(await done('POST', `/object/list/${bucket}`, { prefix: '' }))
  expect(list.map((entry: { name: string }) => entry.name)).toEqual(['b', 'c', 'large'])
  await done('DELETE', `/object/${bucket}/b`)
  await done('DELETE', `/object/${bucket}`, { prefixes: ['large'] })
  await done('POST', `/bucket/${bucket}/empty`)
  await done('DELETE', `/bucket/${bucket}`)
}

/** A signed-in user, the service and anon each have what the bucket's policy gives them. */
export async function exercisePolicies(server: Served): Promise<void> {
  const token = await server.token('somebody')
  const made = await server.request('POST', '/bucket', { body: { name: 'team', policy: 'authenticated' } })
  expect(made.status).toBe(201)
  expect((await server.request('POST', '/object/team/a', { token, body: 'x' })).status).toBe(201)
  expect((await server.request('GET', '/object/team/a', { token })).status).toBe(200)
  expect((await server.request('GET', '/object/team/a', { token: server.keys.anonKey })).status).toBe(404)
  expect((await server.request('DELETE', '/object/team/a', { token: server.keys.anonKey })).status).toBe(404)
  expect((await server.request('POST', '/object/list/team', { token, body: { prefix: '' } })).status).toBe(
    200,
  )
  expect((await server.request('DELETE', '/object/team/a', { token })).status).toBe(204)
  expect((await server.request('DELETE', '/bucket/team')).status).toBe(200)
}
