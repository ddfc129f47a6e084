import { describeWithS3, s3Env } from '../support/s3.ts'
import { itKeepsVersionsOfCutConnections } from './cut-versions.ts'

describeWithS3('versions in a store', (s3) => {
  itKeepsVersionsOfCutConnections('cut connections amid versions in a store and the trash', () => s3Env(s3))
})
