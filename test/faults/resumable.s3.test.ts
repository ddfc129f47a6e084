import { describeWithS3, s3Env } from '../support/s3.ts'
import { MiB } from '../support/tus.ts'
import { itSurvivesKills } from './killed-uploads.ts'

describeWithS3('a resumable upload to an S3 store', (s3) => {
  itSurvivesKills(async () => ({ ...(await s3Env(s3)), STORAGE_S3_PART_SIZE: String(5 * MiB) }))
})
