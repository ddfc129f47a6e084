import type { BucketRow } from '../../../database/queries/buckets.ts'
import { askerOf } from '../../auth/caller.ts'
import { continuationIn, continuationToken } from '../continuation-token.ts'
import { ownerElement } from '../owner.ts'
import { integerIn, textIn } from '../parameters.ts'
import type { Operation } from '../request.ts'

/** As with S3. */
const MOST_BUCKETS = 10_000

/** GET of the service: the buckets that the caller may see (wire §6.3), in order of their bytes. */
export const listBuckets: Operation = {
  name: 'storage.s3.bucket.list',
  async handle(request) {
    const { c, services, query } = request
    const caller = await request.caller()
    const prefix = textIn(query, 'prefix')
    const limit = integerIn(query, 'max-buckets', { from: 1, to: MOST_BUCKETS }) ?? MOST_BUCKETS
    const after = continuationIn(query) ?? ''
    const isOfOurRegion = (query.get('bucket-region') ?? request.region) === request.region
    // One more shows whether there are others.
    const page = { prefix, after, limit: limit + 1 }
    const found = isOfOurRegion ? await services.buckets.page(caller, askerOf(c, services, caller), page) : []
    const shown = found.slice(0, limit)
    return request.xml('ListAllMyBucketsResult', {
      Owner: ownerElement(caller.subject),
      Buckets: { Bucket: shown.map(bucketElement) },
      ContinuationToken: found.length > limit ? continuationToken(shown.at(-1)?.id ?? '') : undefined,
      Prefix: query.get('prefix'),
    })
  },
}

function bucketElement({ id, createdAt }: BucketRow) {
  return { Name: id, CreationDate: createdAt?.toISOString() }
}
