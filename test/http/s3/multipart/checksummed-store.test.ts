import { randomBytes } from 'node:crypto'
import { GetObjectCommand } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import { openS3Proxy, type S3Proxy } from '../../../support/s3-proxy.ts'

const MiB = 1024 * 1024
const PART = 8 * MiB

// Of the stores that tests have, only our own knows checksums that come behind a body, as Amazon does.
let store: S3TestServer
let proxy: S3Proxy
let server: S3TestServer
beforeAll(async () => {
  store = await startS3Server()
  await store.createBucket('bytes')
  proxy = await openS3Proxy({
    endpoint: store.url,
    region: 'us-east-1',
    accessKey: store.keys3.accessKeyId,
    secretKey: store.keys3.secretAccessKey,
  })
  server = await startS3Server({
    STORAGE_BACKEND: 's3',
    STORAGE_S3_ENDPOINT: `${proxy.endpoint}/storage/v1/s3`,
    STORAGE_S3_ACCESS_KEY: store.keys3.accessKeyId,
    STORAGE_S3_SECRET_KEY: store.keys3.secretAccessKey,
    STORAGE_S3_BUCKET: 'bytes',
    STORAGE_S3_REQUEST_CHECKSUM: 'when_supported',
  })
  await server.createBucket('parts')
})
afterAll(async () => {
  await server?.close()
  await proxy?.close()
  await store?.close()
})

it('sends parts on as parts to a store that wants the checksum of each behind it', async () => {
  const at = { Bucket: 'parts', Key: 'large' }
  const Body = randomBytes(3 * PART)
  await new Upload({ client: server.s3, params: { ...at, Body }, queueSize: 3, partSize: PART }).done()
  const parts = proxy.requests.filter(({ query }) => query.has('partNumber'))
  expect(parts.map(({ requestBytes }) => requestBytes >= PART)).toEqual([true, true, true])
  const { Body: read } = await server.s3.send(new GetObjectCommand(at))
  expect(Body.equals((await read?.transformToByteArray()) ?? Buffer.alloc(0))).toBe(true)
})
