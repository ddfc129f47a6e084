import type { Operation } from '../request.ts'

/** HEAD of a bucket that the caller may see (wire §6.3). */
export const headBucket: Operation = {
  name: 'storage.s3.bucket.head',
  async handle(request) {
    const caller = await request.caller()
    await request.services.buckets.get(caller, request.bucket)
    return request.empty(200, { 'x-amz-bucket-region': request.region })
  },
}
