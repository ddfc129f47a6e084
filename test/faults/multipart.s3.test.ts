import { ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3'
import { describeWithS3, s3Client, s3Env } from '../support/s3.ts'
import { itLosesNoPart } from './killed-multipart.ts'
import { isFull } from './size.ts'

const MiB = 1024 * 1024

describeWithS3('uploads in parts to an S3 store', (store) => {
  let Bucket: string | undefined

  itLosesNoPart({
    rounds: isFull ? 40 : 2,
    hasSurvivor: true,
    settings: async () => {
      const env = await s3Env(store)
      Bucket = env.STORAGE_S3_BUCKET
      return { ...env, STORAGE_S3_PART_SIZE: String(5 * MiB) }
    },
    // As the store itself tells it: its own unfinished uploads cost space, too.
    findLeftovers: async ({ database }) => {
      const client = s3Client(store)
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }))
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket }))
      client.destroy()
      const rows = await database.admin`select bytes_bucket || '/' || version as key from storage.objects`
      const named = new Set(rows.map(({ key }) => key))
      const keys = Contents.map(({ Key }) => Key)
      return [...keys, ...Uploads.map(({ Key }) => `unfinished ${Key}`)].filter(
        (key) => !named.has(key),
      ) as string[]
    },
  })
})
