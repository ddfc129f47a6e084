import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { expect, it } from 'vitest'
import { startS3Server } from '../../../support/s3-protocol.ts'

it('an upload whose parts the disk has lost is unknown, as S3 says it', async () => {
  const server = await startS3Server()
  try {
    await server.createBucket('box')
    const { s3, dataDir } = server
    const place = { Bucket: 'box', Key: 'whole' }
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand(place))
    const part = { ...place, UploadId, PartNumber: 1 }
    const { ETag } = await s3.send(new UploadPartCommand({ ...part, Body: Buffer.alloc(100_000) }))
    const objects = join(dataDir, 'objects')
    for (const entry of await readdir(objects)) await rm(join(objects, entry), { recursive: true })
    const list = { MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] } }
    const completed = s3.send(new CompleteMultipartUploadCommand({ ...place, UploadId, ...list }))
    await expect(completed).rejects.toMatchObject({
      name: 'NoSuchUpload',
      $metadata: { httpStatusCode: 404 },
    })
  } finally {
    await server.close()
  }
})
