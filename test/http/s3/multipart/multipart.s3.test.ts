import { randomBytes } from 'node:crypto'
import { CreateMultipartUploadCommand, GetObjectCommand, UploadPartCommand } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { describeWithS3, s3Env } from '../../../support/s3.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import { openS3Proxy, type ProxiedRequest, type S3Proxy } from '../../../support/s3-proxy.ts'
import { describeMultipart } from './describe-multipart.ts'

const MiB = 1024 * 1024

describeWithS3('a server with an S3 store', (s3) => {
  describeMultipart('uploads in parts by S3', () => s3Env(s3))

  describe('with its store', () => {
    let proxy: S3Proxy
    let server: S3TestServer
    beforeAll(async () => {
      proxy = await openS3Proxy(s3)
      server = await startS3Server({ ...(await s3Env(s3)), STORAGE_S3_ENDPOINT: proxy.endpoint })
      await server.createBucket('parts')
    })
    afterAll(async () => {
      await server?.close()
      await proxy?.close()
    })
    const isPart = ({ query }: ProxiedRequest) => query.has('partNumber')
    /** Of what went to the store as parts: numbers and lengths. */
    const sent = () =>
      proxy.requests
        .filter(isPart)
        .map(({ query, requestBytes }) => [Number(query.get('partNumber')), requestBytes])
        .sort(([a = 0], [b = 0]) => a - b)
    const upload = async (Key: string, Body: Buffer, partSize: number, client = server.s3) => {
      const params = { Bucket: 'parts', Key, Body }
      await new Upload({ client, params, queueSize: 4, partSize }).done()
      const { Body: read } = await server.s3.send(new GetObjectCommand({ Bucket: 'parts', Key }))
      expect(Body.equals((await read?.transformToByteArray()) ?? Buffer.alloc(0))).toBe(true)
    }

    it.each([
      ['5 MiB', 5 * MiB],
      ['8 MiB, as awscli and boto3 do', 8 * MiB],
      ['15 MiB, as s3cmd does', 15 * MiB],
    ])('sends parts of %s on as parts, and has none copied but a small one', async (_, part) => {
      proxy.requests.length = 0
      await upload(`parts-of-${part}`, randomBytes(3 * part + 17), part)
      expect(sent()).toEqual([
        [1, part],
        [2, part],
        [3, part],
        [4, 0],
      ])
    })

    it('answers 503 for a part that its store has let fall, whose client sends it again', async () => {
      const failure = proxy.fail({ at: { requestBytes: 6 * MiB }, what: 'cut' }, { when: isPart, times: 1 })
      const client = server.client(undefined, { maxAttempts: 3 })
      await upload('let-fall', randomBytes(3 * 8 * MiB), 8 * MiB, client)
      expect(failure.count).toBe(1)
      const at = { Bucket: 'parts', Key: 'let-fall-once' }
      const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand(at))
      proxy.fail({ at: { requestBytes: 6 * MiB }, what: 'cut' }, { when: isPart, times: 1 })
      const command = new UploadPartCommand({ ...at, UploadId, PartNumber: 1, Body: randomBytes(8 * MiB) })
      await expect(server.s3.send(command)).rejects.toMatchObject({
        name: 'ServiceUnavailable',
        $metadata: { httpStatusCode: 503 },
      })
    })
  })
})
