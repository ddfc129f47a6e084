import { describeWithS3, s3Env } from '../../../support/s3.ts'
import { describeObjects } from './describe-objects.ts'

describeWithS3('a server with an S3 store', (s3) => {
  describeObjects('objects by S3', () => s3Env(s3))
})
