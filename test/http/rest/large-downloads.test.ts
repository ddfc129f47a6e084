import { truncate } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exchange, RawConnection, rawRequest } from '../../support/raw-http.ts'
import { seededBytes } from '../../support/seeded-bytes.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { openFiles, pathOf } from '../../support/stored-files.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
let auth: string

beforeAll(async () => {
  server = await startTestServer()
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box')
})

afterAll(() => server.close())

const nothingOpen = () =>
  until(async () => (await openFiles(server)).length === 0, 'every descriptor is closed')

async function put(name: string, length: number): Promise<Buffer> {
  const bytes = seededBytes(name, length)
  const response = await server.request('PUT', `/object/box/${name}`, { body: new Uint8Array(bytes) })
  expect(response.ok).toBe(true)
  return bytes
}

const get = (name: string, headers: string[] = []) =>
  rawRequest('GET', `/object/box/${name}`, [auth, ...headers])

describe('a large object', () => {
  // The first, before there is so much garbage that Node closes files which nobody can reach any more.
  it('that waits for the response before it keeps no descriptor open when the client goes away', async () => {
    await put('waiting', 20_000_000)
    const connection = await RawConnection.open(server.url)
    await connection.send(get('waiting'), get('waiting'), get('waiting', ['Range: bytes=5-']))
    await connection.firstBytes()
    await until(async () => (await openFiles(server)).length === 3, 'all three files are open')
    connection.abort()
    await nothingOpen()
  })

  it.each([262_145, 524_288, 524_289, 1_572_864, 1_572_865])('of %i bytes arrives whole', async (size) => {
    const bytes = await put('whole', size)
    const response = await exchange(server.url, get('whole'))
    expect([response.status, response.complete, response.body.equals(bytes)]).toEqual([200, true, true])
  })

  it('is followed on its connection by the next response', async () => {
    const [first, second] = [await put('first', 3_000_000), await put('second', 2_000_000)]
    const connection = await RawConnection.open(server.url)
    await connection.send(get('first'), get('second', ['Range: bytes=600000-1999999']), get('first'))
    expect((await connection.response()).body.equals(first)).toBe(true)
    expect((await connection.response()).body.equals(second.subarray(600_000))).toBe(true)
    expect((await connection.response()).body.equals(first)).toBe(true)
    connection.abort()
    await nothingOpen()
  })

  it('arrives whole at a client of HTTP/1.0', async () => {
    const bytes = await put('old-client', 3_000_000)
    const connection = await RawConnection.open(server.url)
    await connection.send(get('old-client').toString('latin1').replace('HTTP/1.1', 'HTTP/1.0'))
    const response = await connection.rest()
    expect(response.subarray(response.indexOf('\r\n\r\n') + 4).equals(bytes)).toBe(true)
  })

  it('arrives as it is at each of many readers, fast ones, slow ones, and beside those who go away', async () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f'].map((letter) => `object-${letter}`)
    const objects = await Promise.all(
      names.map(async (name) => ({ name, bytes: await put(name, 12_000_000) })),
    )
    const slow: (() => void)[] = []
    const readers = Array.from({ length: 24 }, async (_, n) => {
      const { name, bytes } = objects[n % objects.length] ?? { name: '', bytes: Buffer.alloc(0) }
      const connection = await RawConnection.open(server.url)
      await connection.send(get(name))
      await connection.firstBytes()
      if (n % 4 === 0) return connection.abort()
      if (n % 4 === 1) await new Promise<void>((resolve) => slow.push(resolve))
      connection.goOn()
      expect((await connection.response()).body.equals(bytes)).toBe(true)
      connection.abort()
    })
    const fast = readers.filter((_, n) => n % 4 !== 1)
    await Promise.all(fast)
    for (const goOn of slow) goOn()
    await Promise.all(readers)
    await nothingOpen()
  })

  it('that is cut short on the disk while it is sent is cut off, never complete', async () => {
    await put('shrinking', 40_000_000)
    const connection = await RawConnection.open(server.url)
    await connection.send(get('shrinking', ['X-Request-Id: shrunk']))
    await connection.firstBytes()
    await truncate(await pathOf(server, 'shrinking'), 30_000_000)
    connection.goOn()
    expect(await connection.response()).toMatchObject({ status: 200, complete: false })
    await nothingOpen()
    const line = () => server.logs.find((one) => one.requestId === 'shrunk' && one.msg === 'request')
    await until(() => line() !== undefined, 'the request is in the log')
    expect(line()).toMatchObject({ aborted: true })
  })
})
