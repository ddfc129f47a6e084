import { cannedAcl } from '../acl.ts'
import type { Operation } from '../request.ts'

/** PUT of a bucket, which the caller then owns (wire §6.3). Where it is to be is not for the client to say. */
export const createBucket: Operation = {
  name: 'storage.s3.bucket.create',
  async handle(request) {
    const { services, bucket } = request
    const caller = await request.caller()
    const policy = cannedAcl(request) ?? 'private'
    await services.buckets.create(caller, {
      id: bucket,
      name: bucket,
      policy,
      type: 'STANDARD',
      objectLock: request.header('x-amz-bucket-object-lock-enabled')?.toLowerCase() === 'true',
    })
    return request.empty(200, { Location: `/${bucket}` })
  },
}
