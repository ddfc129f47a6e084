import { expect, it } from 'vitest'
import { describeClientInBothModes, ok } from '../describe-client.ts'
import { bucketOf, NewestClients, OWNERS, refusedWithCode } from './newest-client.ts'

// Wire §13.2, what is said of lifecycles, with the newest storage-js. What rules do is in test/jobs/lifecycle.test.ts.
describeClientInBothModes((clients) => {
  const newest = new NewestClients(clients)
  const rule = (id: string, noncurrentDays: number, newerNoncurrentVersions?: number) => ({
    id,
    status: 'Enabled' as const,
    filter: {},
    noncurrentVersionExpiration: {
      noncurrentDays,
      ...(newerNoncurrentVersions && { newerNoncurrentVersions }),
    },
  })
  const none = { statusCode: '404', code: 'NoSuchLifecycleConfiguration' }

  it('is told as it was put, replaced as a whole, and deleted', async () => {
    const { bucket } = await bucketOf(newest, 'the service key')
    const { service } = newest
    expect(refusedWithCode(await service.getBucketLifecycle(bucket))).toMatchObject(none)
    const first = { rules: [rule('a', 30, 2), { ...rule('b', 1), status: 'Disabled' as const }] }
    expect(ok(await service.updateBucketLifecycle(bucket, first))).toEqual(first)
    expect(ok(await service.getBucketLifecycle(bucket))).toEqual(first)
    const second = { rules: [rule('c', 7, 100)] }
    expect(ok(await service.updateBucketLifecycle(bucket, second))).toEqual(second)
    expect(ok(await service.getBucketLifecycle(bucket))).toEqual(second)
    const gone = { message: 'Successfully deleted' }
    expect(ok(await service.deleteBucketLifecycle(bucket))).toEqual(gone)
    expect(ok(await service.deleteBucketLifecycle(bucket))).toEqual(gone)
    expect(refusedWithCode(await service.getBucketLifecycle(bucket))).toMatchObject(none)
  })

  it('gives a rule an id that has none: the same rule the same one', async () => {
    const { bucket } = await bucketOf(newest, 'the service key')
    const { id: _, ...nameless } = rule('', 3)
    const put = async () =>
      ok(await newest.service.updateBucketLifecycle(bucket, { rules: [nameless] })).rules
    const [made] = await put()
    expect(made).toEqual({ ...nameless, id: expect.stringMatching(/^rule-[0-9a-f]{64}$/) })
    expect(await put()).toEqual([made])
  })

  it.each([
    ['no rule', []],
    ['another filter', [{ ...rule('a', 1), filter: { prefix: 'logs/' } }]],
    ['no days', [rule('a', 0)]],
    ['101 newer versions', [rule('a', 1, 101)]],
    ['one id twice', [rule('a', 1), rule('a', 2)]],
    ['a long id', [rule('x'.repeat(256), 1)]],
    ['an expiration', [{ ...rule('a', 1), expiration: { days: 1 } }]],
    ['another status', [{ ...rule('a', 1), status: 'enabled' }]],
  ])('is refused with %s', async (_, rules) => {
    const { bucket } = await bucketOf(newest, 'the service key')
    const kept = { rules: [rule('kept', 1)] }
    ok(await newest.service.updateBucketLifecycle(bucket, kept))
    // The client's types know most of it, too.
    const answer = await newest.service.updateBucketLifecycle(bucket, { rules: rules as never })
    expect(refusedWithCode(answer)).toMatchObject({ status: 400, statusCode: '400' })
    expect(ok(await newest.service.getBucketLifecycle(bucket))).toEqual(kept)
  })

  it.each(OWNERS.slice(1))('is nothing that %s may read or change, whom no policy lets', async (who) => {
    const { bucket } = await bucketOf(newest, 'the service key')
    ok(await newest.service.updateBucketLifecycle(bucket, { rules: [rule('kept', 1)] }))
    const other = who === 'a signed-in user' ? await newest.user('ann') : newest.anonymous
    const missing = { statusCode: '404', code: 'NoSuchBucket' }
    expect(refusedWithCode(await other.getBucketLifecycle(bucket))).toMatchObject(missing)
    const change = await other.updateBucketLifecycle(bucket, { rules: [rule('other', 1)] })
    expect(refusedWithCode(change)).toMatchObject(missing)
    expect(refusedWithCode(await other.deleteBucketLifecycle(bucket))).toMatchObject(missing)
    expect(ok(await newest.service.getBucketLifecycle(bucket))).toEqual({ rules: [rule('kept', 1)] })
  })

  it('is none of a bucket that is not there', async () => {
    const missing = { statusCode: '404', code: 'NoSuchBucket' }
    expect(refusedWithCode(await newest.service.getBucketLifecycle('no-such'))).toMatchObject(missing)
    expect(refusedWithCode(await newest.service.deleteBucketLifecycle('no-such'))).toMatchObject(missing)
  })
})
