import { randomBytes } from 'node:crypto'
import { Upload } from '@aws-sdk/lib-storage'
import { expect, it } from 'vitest'
import { describeWithS3, s3Env } from '../../../support/s3.ts'
import { startS3Server } from '../../../support/s3-protocol.ts'
import { openS3Proxy } from '../../../support/s3-proxy.ts'
import { describeMultipart } from './describe-multipart.ts'

const PART = 5 * 1024 * 1024

describeWithS3('a server with an S3 store', (s3) => {
  describeMultipart('uploads in parts by S3', () => s3Env(s3))

  it('sends parts on as parts, and has none copied but a small one', async () => {
    const proxy = await openS3Proxy(s3)
    const server = await startS3Server({ ...(await s3Env(s3)), STORAGE_S3_ENDPOINT: proxy.endpoint })
    try {
      await server.createBucket('parts')
      const params = { Bucket: 'parts', Key: 'large', Body: randomBytes(3 * PART + 17) }
      proxy.requests.length = 0
      await new Upload({ client: server.s3, params, queueSize: 4, partSize: PART }).done()
      const parts = proxy.requests.filter(({ query }) => query.has('partNumber'))
      const sent = parts.map(({ query, requestBytes }) => [query.get('partNumber'), requestBytes])
      expect(sent.sort()).toEqual([
        ['1', PART],
        ['2', PART],
        ['3', PART],
        ['4', 0],
      ])
    } finally {
      await server.close()
      await proxy.close()
    }
  })
})
