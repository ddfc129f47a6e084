import { describeWithS3, s3Env } from '../support/s3.ts'
import { itLosesNoVersion } from './killed-versions.ts'

describeWithS3('versions in a store', (s3) => {
  itLosesNoVersion('kill -9 amid versions in a store, the trash and what takes them away', () => s3Env(s3))
})
