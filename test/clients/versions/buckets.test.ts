import { StorageApiError } from 'storage-js-newest'
import { expect, it } from 'vitest'
import { describeClientInBothModes, ok } from '../describe-client.ts'
import { bucketOf, historyOf, NewestClients, refusedWithCode, uploaded } from './newest-client.ts'

// Wire §13.2, what is said of buckets, with the newest storage-js.
describeClientInBothModes((clients) => {
  const newest = new NewestClients(clients)
  const statusOf = async (bucket: string) => ok(await newest.service.getBucket(bucket)).versioning_status

  it('keeps no versions unless it is made so, and tells of it', async () => {
    ok(await newest.service.createBucket('plain', { public: false }))
    ok(await newest.service.createBucket('off', { public: false, versioningStatus: 'DISABLED' }))
    ok(await newest.service.createBucket('on', { public: false, versioningStatus: 'ENABLED' }))
    expect(await Promise.all(['plain', 'off', 'on'].map(statusOf))).toEqual([
      'DISABLED',
      'DISABLED',
      'ENABLED',
    ])
    const all = ok(await newest.service.listBuckets())
    expect(all.filter(({ versioning_status: status }) => status === 'ENABLED').map(({ id }) => id)).toEqual([
      'on',
    ])
  })

  it('is not made with versions suspended', async () => {
    // The client's types know that, too.
    const settings = { public: false, versioningStatus: 'SUSPENDED' } as unknown as { public: boolean }
    const { status } = refusedWithCode(await newest.service.createBucket('suspended', settings))
    expect(status).toBe(400)
    expect((await newest.service.getBucket('suspended')).data).toBeNull()
  })

  it('goes to and fro between ENABLED and SUSPENDED, and nowhere else', async () => {
    const { bucket } = await bucketOf(newest, 'the service key', { versioningStatus: 'DISABLED' })
    const goesTo = async (status: string) => {
      const answer = await newest.service.updateBucket(bucket, {
        public: false,
        versioningStatus: status as 'ENABLED',
      })
      if (!answer.error) return status
      expect(answer.error).toBeInstanceOf(StorageApiError)
      const { code, message } = answer.error as StorageApiError
      return `${code}: ${message}`
    }
    const refused = (from: string, to: string) =>
      expect.stringMatching(
        `^InvalidParameter: .*Cannot transition bucket versioning status from ${from} to ${to}`,
      )
    expect(await goesTo('SUSPENDED')).toEqual(refused('DISABLED', 'SUSPENDED'))
    for (const status of ['ENABLED', 'SUSPENDED', 'ENABLED']) expect(await goesTo(status)).toBe(status)
    expect(await goesTo('DISABLED')).toEqual(refused('ENABLED', 'DISABLED'))
    expect(await goesTo('SUSPENDED')).toBe('SUSPENDED')
    expect(await goesTo('DISABLED')).toEqual(refused('SUSPENDED', 'DISABLED'))
    expect(await statusOf(bucket)).toBe('SUSPENDED')
  })

  it('keeps its versions when all else is changed', async () => {
    const { bucket, of } = await bucketOf(newest, 'the service key')
    await uploaded(of, 'a', '1', '22')
    ok(await newest.service.updateBucket(bucket, { public: true, fileSizeLimit: 1000 }))
    expect(await statusOf(bucket)).toBe('ENABLED')
    expect(await historyOf(of, 'a')).toEqual(['2 now', '1'])
  })

  it('is not empty as long as it has a former version or a marker', async () => {
    const { bucket, of } = await bucketOf(newest, 'the service key')
    const [first] = await uploaded(of, 'a', '1')
    const [marker] = ok(await of.remove(['a']))
    const notEmpty = { statusCode: '409', code: 'ResourceNotEmpty' }
    expect(refusedWithCode(await newest.service.deleteBucket(bucket))).toMatchObject(notEmpty)
    ok(await of.remove([{ path: 'a', versionId: String(first) }]))
    expect(refusedWithCode(await newest.service.deleteBucket(bucket))).toMatchObject(notEmpty)
    ok(await of.remove([{ path: 'a', versionId: String(marker?.version) }]))
    ok(await newest.service.deleteBucket(bucket))
  })

  it('is empty, with all versions and markers, once it has been emptied', async () => {
    const { bucket, of } = await bucketOf(newest, 'the service key')
    await uploaded(of, 'a', '1', '22')
    ok(await of.remove(['a', 'never']))
    ok(await newest.service.emptyBucket(bucket))
    expect(ok(await of.listV2({ noncurrentVersions: 'include', deleteMarkers: 'include' })).objects).toEqual(
      [],
    )
    ok(await newest.service.deleteBucket(bucket))
  })
})
