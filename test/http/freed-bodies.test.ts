import { MessagePort } from 'node:worker_threads'
import { CreateMultipartUploadCommand } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { type S3TestServer, startS3Server } from '../support/s3-protocol.ts'
import { UNSIGNED } from '../support/s3-signer.ts'
import { seededBytes } from '../support/seeded-bytes.ts'
import { TusRequests } from '../support/tus-requests.ts'

const LARGE = seededBytes('freed', 8 * 1024 * 1024 + 7)

let server: S3TestServer
beforeAll(async () => {
  server = await startS3Server()
  await server.createBucket('box')
})
afterAll(() => server.close())

/** Bytes whose memory was given away, to nobody. */
let freed: number
beforeEach(() => {
  const { postMessage } = MessagePort.prototype
  freed = 0
  vi.spyOn(MessagePort.prototype, 'postMessage').mockImplementation(function (
    this: MessagePort,
    value,
    list,
  ) {
    if (value === null) for (const buffer of list ?? []) freed += (buffer as ArrayBuffer).byteLength
    postMessage.call(this, value, list)
  })
})
afterEach(() => vi.restoreAllMocks())

async function expectStored(name: string): Promise<void> {
  const stored = await server.request('GET', `/storage/v1/object/box/${name}`)
  expect(LARGE.equals(Buffer.from(await stored.arrayBuffer()))).toBe(true)
}

/** A collection of garbage for each so many megabytes would cost more than all else that is done with them. */
describe('the memory of a body is given back when it is stored', () => {
  it('by REST', async () => {
    const headers = { authorization: `Bearer ${server.keys.serviceKey}` }
    const url = `${server.url}/storage/v1/object/box/rest`
    const { status } = await fetch(url, { method: 'PUT', headers, body: new Uint8Array(LARGE) })
    expect([status, freed]).toEqual([201, LARGE.length])
    await expectStored('rest')
  })

  it('by TUS', async () => {
    const { status } = await new TusRequests(server).create('tus', LARGE.length, { body: LARGE })
    expect([status, freed]).toEqual([201, LARGE.length])
    await expectStored('tus')
  })

  it('by S3', async () => {
    const { status } = await server.send('PUT', '/box/s3', { body: LARGE, payload: UNSIGNED })
    expect([status, freed]).toEqual([200, LARGE.length])
    await expectStored('s3')
  })

  it('by S3, in parts', async () => {
    const { UploadId } = await server.s3.send(
      new CreateMultipartUploadCommand({ Bucket: 'box', Key: 'parts' }),
    )
    const target = `/box/parts?partNumber=1&uploadId=${UploadId}`
    const { status } = await server.send('PUT', target, { body: LARGE, payload: UNSIGNED })
    expect([status, freed]).toEqual([200, LARGE.length])
  })
})
