import type { Operation } from '../request.ts'
import { bucketRulesIn, isS3Rule, ruleElements } from './lifecycle-xml.ts'

/** GET of a bucket's lifecycle: the rules of its policy that S3 has words for (docs/versions.md). */
export const getBucketLifecycle: Operation = {
  name: 'storage.s3.bucket.get_lifecycle',
  async handle(request) {
    const caller = await request.caller()
    const rules = await request.services.bucketLifecycle.get(caller, request.bucket, isS3Rule)
    return request.xml('LifecycleConfiguration', { Rule: rules.map(ruleElements) })
  },
}

/** PUT of all of them. */
export const putBucketLifecycle: Operation = {
  name: 'storage.s3.bucket.put_lifecycle',
  async handle(request) {
    const caller = await request.caller()
    const rules = bucketRulesIn(await request.readXml('LifecycleConfiguration'))
    await request.services.bucketLifecycle.put(caller, request.bucket, isS3Rule, rules)
    return request.empty(200)
  },
}

/** DELETE of all of them. */
export const deleteBucketLifecycle: Operation = {
  name: 'storage.s3.bucket.delete_lifecycle',
  async handle(request) {
    const caller = await request.caller()
    await request.services.bucketLifecycle.delete(caller, request.bucket, isS3Rule)
    return request.empty(204)
  },
}
