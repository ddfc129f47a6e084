import { aclElements, cannedAcl, policyOfGrants } from '../acl.ts'
import type { Operation } from '../request.ts'

/** GET of a bucket's ACL: what its policy means. */
export const getBucketAcl: Operation = {
  name: 'storage.s3.bucket.get_acl',
  async handle(request) {
    const caller = await request.caller()
    const { ownerId, policy } = await request.services.buckets.get(caller, request.bucket)
    return request.xml('AccessControlPolicy', aclElements(ownerId, policy))
  },
}

/** PUT of it, canned in a header or as grants in the body. */
export const putBucketAcl: Operation = {
  name: 'storage.s3.bucket.put_acl',
  async handle(request) {
    const caller = await request.caller()
    const policy = cannedAcl(request) ?? policyOfGrants(await request.readXml('AccessControlPolicy'))
    await request.services.buckets.update(caller, request.bucket, { policy })
    return request.empty(200)
  },
}
