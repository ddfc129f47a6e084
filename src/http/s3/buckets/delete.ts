import type { Operation } from '../request.ts'

/** DELETE of a bucket, which has to be empty (wire §6.3). */
export const deleteBucket: Operation = {
  name: 'storage.s3.bucket.delete',
  async handle(request) {
    const caller = await request.caller()
    await request.services.buckets.delete(caller, request.bucket)
    return request.empty(204)
  },
}
