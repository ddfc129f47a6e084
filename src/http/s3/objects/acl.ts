import type { BucketPolicy } from '../../../database/schema.ts'
import type { Caller } from '../../../model/caller.ts'
import { hasCode } from '../../../model/errors.ts'
import { aclElements } from '../acl.ts'
import type { Operation, S3Request } from '../request.ts'
import { tellingOfMarkers, versionHeaders, versionIn } from '../version-ids.ts'

/** GET of an object's ACL: what its bucket's policy means for it. */
export const getObjectAcl: Operation = {
  name: 'storage.s3.object.get_acl',
  ofVersions: true,
  async handle(request) {
    const { services, bucket, name, query } = request
    const caller = await request.caller()
    const target = { access: 'caller', bucket, name, version: versionIn(query), withMarker: true } as const
    const { object, isPublic } = await tellingOfMarkers(() => services.files.find(caller, target))
    const policy = isPublic ? 'public' : await policyOf(request, caller)
    return request.xml(
      'AccessControlPolicy',
      aclElements(object.ownerId, policy),
      versionHeaders(object.versionId),
    )
  },
}

/** As far as the caller sees the bucket. */
async function policyOf({ services, bucket }: S3Request, caller: Caller): Promise<BucketPolicy> {
  try {
    return (await services.buckets.get(caller, bucket)).policy
  } catch (error) {
    if (hasCode(error, 'NoSuchBucket')) return 'private'
    throw error
  }
}
