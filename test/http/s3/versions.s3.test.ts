import { describeWithS3, s3Env } from '../../support/s3.ts'
import { describeVersions } from './describe-versions.ts'

describeWithS3('a server with an S3 store', (s3) => {
  describeVersions('a version by S3', () => s3Env(s3))
})
