import { describeMultipart } from './describe-multipart.ts'

describeMultipart('uploads in parts by S3', async () => ({}))
