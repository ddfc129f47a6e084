import { errorDocument } from '../errors.ts'
import type { Operation, S3Request } from '../request.ts'
import type { XmlContent } from '../xml-writer.ts'

/*
 * What tools ask of a bucket before they go on, and what S3 says of one for which nothing is configured. It is so of every
 * bucket here, and no secret.
 */

/** What is answered with an error: its code and sentence are S3's. */
const NOTHING: Record<string, [code: string, message: string]> = {
  cors: ['NoSuchCORSConfiguration', 'The CORS configuration does not exist'],
  encryption: [
    'ServerSideEncryptionConfigurationNotFoundError',
    'The server side encryption configuration was not found',
  ],
  ownershipControls: ['OwnershipControlsNotFoundError', 'The bucket ownership controls were not found'],
  policy: ['NoSuchBucketPolicy', 'The bucket policy does not exist'],
  policyStatus: ['NoSuchBucketPolicy', 'The bucket policy does not exist'],
  publicAccessBlock: [
    'NoSuchPublicAccessBlockConfiguration',
    'The public access block configuration was not found',
  ],
  replication: ['ReplicationConfigurationNotFoundError', 'The replication configuration was not found'],
  tagging: ['NoSuchTagSet', 'The TagSet does not exist'],
  website: ['NoSuchWebsiteConfiguration', 'The specified bucket does not have a website configuration'],
}

/** What is answered with a document. */
const EMPTY: Record<string, [root: string, content: XmlContent]> = {
  accelerate: ['AccelerateConfiguration', ''],
  logging: ['BucketLoggingStatus', ''],
  notification: ['NotificationConfiguration', ''],
  requestPayment: ['RequestPaymentConfiguration', { Payer: 'BucketOwner' }],
}

/** Of which a bucket may have many: a list of none, or none of that name. */
const LISTS: Record<string, string> = {
  analytics: 'ListBucketAnalyticsConfigurationResult',
  'intelligent-tiering': 'ListBucketIntelligentTieringConfigurationsOutput',
  inventory: 'ListInventoryConfigurationsResult',
  metrics: 'ListMetricsConfigurationsResult',
}

/** GET of each, by the parameter that chooses it. */
export const CONFIGURATIONS: Record<string, Operation> = Object.fromEntries([
  ...Object.entries(NOTHING).map(([name, [code, message]]) =>
    operation(name, (request) => missing(request, code, message)),
  ),
  ...Object.entries(EMPTY).map(([name, [root, content]]) =>
    operation(name, (request) => request.xml(root, content)),
  ),
  ...Object.entries(LISTS).map(([name, root]) =>
    operation(name, (request) =>
      request.query.has('id')
        ? missing(request, 'NoSuchConfiguration', 'The specified configuration does not exist')
        : request.xml(root, { IsTruncated: false }),
    ),
  ),
  // Of the region of old, S3 says nothing.
  operation('location', (request) =>
    request.xml('LocationConstraint', request.region === 'us-east-1' ? '' : request.region),
  ),
])

function operation(parameter: string, answer: (request: S3Request) => Response): [string, Operation] {
  const name = `storage.s3.bucket.get_${parameter.replace(/-|(?=[A-Z])/g, '_').toLowerCase()}`
  const handle = async (request: S3Request) => {
    await request.caller()
    await request.services.buckets.demand(request.bucket)
    return answer(request)
  }
  return [`GET ?${parameter}`, { name, handle }]
}

export function missing({ c }: S3Request, code: string, message: string): Response {
  const { type, text } = errorDocument(code, message, c.env)
  return c.body(text, 404, { 'Content-Type': type })
}
