import { describeWithS3, s3Env } from '../../../support/s3.ts'
import { describeForms } from './describe-forms.ts'

describeWithS3('a server with an S3 store', (s3) => {
  describeForms('forms by S3', () => s3Env(s3))
})
