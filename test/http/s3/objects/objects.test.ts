import { describeObjects } from './describe-objects.ts'

describeObjects('objects by S3', async () => ({}))
