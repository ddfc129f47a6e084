import { describeWithS3, s3Env } from '../../../support/s3.ts'
import { describeMultipart } from './describe-multipart.ts'

describeWithS3('a server with an S3 store', (s3) => {
  describeMultipart('uploads in parts by S3', () => s3Env(s3))
})
