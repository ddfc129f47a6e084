import type { S3Credentials } from '../../../storage/credentials/s3-credentials.ts'

/** The pairs with which requests may be signed. */
export type Credentials = Pick<S3Credentials, 'find' | 'onUse'>
