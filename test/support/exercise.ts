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
