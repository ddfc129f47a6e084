import { describeVersions } from './describe-versions.ts'

describeVersions('a version by S3', async () => ({}))
