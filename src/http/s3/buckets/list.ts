import { askerOf } from '../../auth/caller.ts'
import type { Operation } from '../request.ts'

/** GET of the service: the buckets that the caller may see (wire §6.3). */
export const listBuckets: Operation = {
  name: 'storage.s3.bucket.list',
  async handle(request) {
    const { c, services } = request
    const caller = await request.caller()
    const rows = await services.buckets.list(caller, askerOf(c, services, caller), {
      limit: undefined,
      offset: 0,
      column: 'name',
      order: 'asc',
      search: undefined,
    })
    const buckets = rows.map(({ id, createdAt }) => ({
      Name: id,
      CreationDate: createdAt?.toISOString(),
    }))
    return request.xml('ListAllMyBucketsResult', { Buckets: { Bucket: buckets } })
  },
}
