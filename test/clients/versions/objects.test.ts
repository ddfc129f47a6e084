import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dropPolicies } from '../../support/policies.ts'
import { describeClientInBothModes, ok } from '../describe-client.ts'
import {
  bucketOf,
  type Files,
  historyOf,
  NewestClients,
  OWNERS,
  POLICIES,
  refusedWithCode,
  textsOf,
  uploaded,
} from './newest-client.ts'

// Wire §13.2, each sentence about objects, with the newest storage-js.
describeClientInBothModes((clients) => {
  const newest = new NewestClients(clients)
  const noVersion = clients.isSupabase ? 'NoSuchKey' : 'NoSuchVersion'
  const gone = { statusCode: '404', code: 'NoSuchKey' }
  const unknown = '00000000-0000-4000-8000-000000000000'
  beforeAll(() => clients.server.admin.unsafe(POLICIES))
  afterAll(() => dropPolicies(clients.server.admin))

  const now = async (of: Files, name: string) => ok(await of.download(name)).text()
  const suspended = (bucket: string) =>
    newest.service.updateBucket(bucket, { public: false, versioningStatus: 'SUSPENDED' }).then(ok)
  const enabled = (bucket: string) =>
    newest.service.updateBucket(bucket, { public: false, versioningStatus: 'ENABLED' }).then(ok)

  describe.each(OWNERS)('with %s', (owner) => {
    it('an upload archives what was there, under the same id', async () => {
      const { of } = await bucketOf(newest, owner)
      const ids: string[] = []
      const versions: string[] = []
      for (const text of ['1', '22', '333']) {
        ok(await of.update('a', text))
        const { id, version } = ok(await of.info('a'))
        ids.push(id)
        versions.push(version)
      }
      expect(new Set(ids).size).toBe(1)
      expect(new Set(versions).size).toBe(3)
      expect(await textsOf(of, 'a', versions)).toEqual(['1', '22', '333'])
      expect(await now(of, 'a')).toBe('333')
      expect(await historyOf(of, 'a')).toEqual(['3 now', '2', '1'])
    })

    it('info tells of each version what it is', async () => {
      const { of } = await bucketOf(newest, owner)
      const versions = await uploaded(of, 'a', '1', '22')
      const told = async (versionId?: string) => ok(await of.info('a', versionId ? { versionId } : undefined))
      const current = {
        version: versions[1],
        size: 2,
        archivedAt: null,
        isVersioned: true,
        isDeleteMarker: false,
      }
      expect(await told(versions[1])).toMatchObject(current)
      expect(await told(versions[0])).toMatchObject({
        version: versions[0],
        size: 1,
        archivedAt: expect.any(String),
        isVersioned: true,
        isDeleteMarker: false,
      })
      expect(refusedWithCode(await of.info('a', { versionId: unknown }))).toMatchObject({ code: noVersion })
    })

    it('an upload without upsert is refused over an object, and not over a marker', async () => {
      const { of } = await bucketOf(newest, owner)
      ok(await of.upload('a', '1'))
      expect(refusedWithCode(await of.upload('a', '22'))).toMatchObject({ statusCode: '409' })
      const { id } = ok(await of.info('a'))
      ok(await of.remove(['a']))
      ok(await of.upload('a', '333'))
      expect(ok(await of.info('a')).id).toBe(id)
      expect(await historyOf(of, 'a')).toEqual(['3 now', 'marker', '1'])
    })

    it('while suspended, an upload archives a version, and takes the place of the null version for good', async () => {
      const { bucket, of } = await bucketOf(newest, owner, { versioningStatus: 'DISABLED' })
      const [before] = await uploaded(of, 'a', '1')
      await enabled(bucket)
      const [kept] = await uploaded(of, 'a', '22')
      await suspended(bucket)
      const [first] = await uploaded(of, 'a', '333')
      expect(await historyOf(of, 'a')).toEqual(['3 now', '2'])
      expect(await textsOf(of, 'a', [String(before), String(kept)])).toEqual([noVersion, '22'])
      const [second] = await uploaded(of, 'a', '4444')
      expect(second).not.toBe(first)
      expect(await textsOf(of, 'a', [String(first), String(second)])).toEqual([noVersion, '4444'])
      expect(ok(await of.info('a', { versionId: String(second) })).isVersioned).toBe(false)
      expect(await historyOf(of, 'a')).toEqual(['4 now', '2'])
    })

    it('while suspended, a delete makes the null version a marker; enabled again, an upload archives it', async () => {
      const { bucket, of } = await bucketOf(newest, owner)
      await uploaded(of, 'a', '1')
      await suspended(bucket)
      const [nullVersion] = await uploaded(of, 'a', '22')
      ok(await of.remove(['a']))
      expect(await historyOf(of, 'a')).toEqual(['marker now', '1'])
      expect(await textsOf(of, 'a', [String(nullVersion)])).toEqual([noVersion])
      const [again] = await uploaded(of, 'a', '333')
      await enabled(bucket)
      await uploaded(of, 'a', '4444')
      expect(await historyOf(of, 'a')).toEqual(['4 now', '3', '1'])
      expect(ok(await of.info('a', { versionId: String(again) })).isVersioned).toBe(false)
    })

    it('a delete by name leaves a marker, which nobody can fetch, and the versions below it', async () => {
      const { of } = await bucketOf(newest, owner)
      const versions = await uploaded(of, 'a', '1', '22')
      const [row] = ok(await of.remove(['a']))
      const marker = String(row?.version)
      expect(row).toMatchObject({ name: 'a', is_delete_marker: true })
      expect(refusedWithCode(await of.download('a'))).toMatchObject(gone)
      expect(refusedWithCode(await of.info('a'))).toMatchObject(gone)
      expect((await of.exists('a')).data).toBe(false)
      expect(await textsOf(of, 'a', [...versions, marker])).toEqual(['1', '22', noVersion])
      expect(refusedWithCode(await of.info('a', { versionId: marker }))).toMatchObject({ code: noVersion })
      expect(await historyOf(of, 'a')).toEqual(['marker now', '2', '1'])
    })

    it('a delete of names that never were leaves a marker for each', async () => {
      const { of } = await bucketOf(newest, owner)
      const rows = ok(await of.remove(['x', 'y', 'z']))
      expect(rows).toMatchObject(['x', 'y', 'z'].map((name) => ({ name, is_delete_marker: true })))
      expect(await historyOf(of, 'y')).toEqual(['marker now'])
    })

    it('a delete where versions are off is one', async () => {
      const { of } = await bucketOf(newest, owner, { versioningStatus: 'DISABLED' })
      const versions = await uploaded(of, 'a', '1')
      expect(ok(await of.remove(['a', 'never']))).toMatchObject([{ name: 'a' }])
      expect(await textsOf(of, 'a', versions)).toEqual([noVersion])
      expect(await historyOf(of, 'a')).toEqual([])
    })

    it('a delete of a former version takes that one alone, for good', async () => {
      const { of } = await bucketOf(newest, owner)
      const versions = await uploaded(of, 'a', '1', '22', '333')
      const versionId = String(versions[1])
      expect(ok(await of.remove([{ path: 'a', versionId }]))).toMatchObject([
        { name: 'a', version: versionId, is_delete_marker: false },
      ])
      expect(await textsOf(of, 'a', versions)).toEqual(['1', noVersion, '333'])
      expect(await historyOf(of, 'a')).toEqual(['3 now', '1'])
    })

    it('a delete of the current version makes the newest of the others current', async () => {
      const { of } = await bucketOf(newest, owner)
      const versions = await uploaded(of, 'a', '1', '22', '333')
      ok(await of.remove([{ path: 'a', versionId: String(versions[2]) }]))
      expect(await now(of, 'a')).toBe('22')
      expect(ok(await of.info('a')).version).toBe(versions[1])
      expect(await historyOf(of, 'a')).toEqual(['2 now', '1'])
    })

    it('a delete of the marker undeletes', async () => {
      const { of } = await bucketOf(newest, owner)
      const versions = await uploaded(of, 'a', '1', '22')
      const [marker] = ok(await of.remove(['a']))
      ok(await of.remove([{ path: 'a', versionId: String(marker?.version) }]))
      expect(await now(of, 'a')).toBe('22')
      expect(ok(await of.info('a')).version).toBe(versions[1])
    })

    it('a delete of versions and names goes together, and leaves out what is not there', async () => {
      const { of } = await bucketOf(newest, owner)
      const [first, second] = await uploaded(of, 'a', '1', '22')
      await uploaded(of, 'b', '1')
      const rows = ok(
        await of.remove(['b', { path: 'a', versionId: String(first) }, { path: 'a', versionId: unknown }]),
      )
      expect(rows).toMatchObject([
        { name: 'b', is_delete_marker: true },
        { name: 'a', version: first, is_delete_marker: false },
      ])
      expect(rows).toHaveLength(2)
      expect(await textsOf(of, 'a', [String(second)])).toEqual(['22'])
    })

    it('a copy of what was deleted names its version, and needs no upsert over a marker', async () => {
      const { of } = await bucketOf(newest, owner)
      const [first, second] = await uploaded(of, 'a', '1', '22')
      ok(await of.remove(['a']))
      expect(refusedWithCode(await of.copy('a', 'b'))).toMatchObject(gone)
      expect(refusedWithCode(await of.copy('a', 'b', { sourceVersionId: unknown }))).toMatchObject({
        code: noVersion,
      })
      ok(await of.copy('a', 'b', { sourceVersionId: String(second) }))
      expect(await now(of, 'b')).toBe('22')
      ok(await of.copy('a', 'a', { sourceVersionId: String(first) }))
      expect(await now(of, 'a')).toBe('1')
      expect(await historyOf(of, 'a')).toEqual(['1 now', 'marker', '2', '1'])
      expect([first, second]).not.toContain(ok(await of.info('a')).version)
    })

    it('a copy over an object needs upsert, and archives it', async () => {
      const { of } = await bucketOf(newest, owner)
      const [first] = await uploaded(of, 'a', '1', '22')
      await uploaded(of, 'b', '333')
      const sourceVersionId = String(first)
      expect(refusedWithCode(await of.copy('a', 'b', { sourceVersionId }))).toMatchObject({
        statusCode: '409',
      })
      expect(await historyOf(of, 'b')).toEqual(['3 now'])
      ok(await of.setHeader('x-upsert', 'true').copy('a', 'b', { sourceVersionId }))
      expect(await historyOf(of, 'b')).toEqual(['1 now', '3'])
    })

    it('a move leaves a marker and the history, and has a version of its own', async () => {
      const { of } = await bucketOf(newest, owner)
      const versions = await uploaded(of, 'a', '1', '22')
      await uploaded(of, 'taken', '1')
      expect(refusedWithCode(await of.move('a', 'taken'))).toMatchObject({ statusCode: '409' })
      ok(await of.move('a', 'b'))
      expect(await historyOf(of, 'a')).toEqual(['marker now', '2', '1'])
      expect(await textsOf(of, 'a', versions)).toEqual(['1', '22'])
      expect(await now(of, 'b')).toBe('22')
      expect(await historyOf(of, 'b')).toEqual(['2 now'])
      expect(versions).not.toContain(ok(await of.info('b')).version)
    })

    it('a move of the current version by its id promotes the one before, and leaves no marker', async () => {
      const { of } = await bucketOf(newest, owner)
      const versions = await uploaded(of, 'a', '1', '22')
      ok(await of.move('a', 'b', { sourceVersionId: String(versions[1]) }))
      expect(await now(of, 'a')).toBe('1')
      expect(await historyOf(of, 'a')).toEqual(['1 now'])
      expect(await now(of, 'b')).toBe('22')
      expect(refusedWithCode(await of.move('a', 'c', { sourceVersionId: unknown }))).toMatchObject({
        code: noVersion,
      })
    })

    it('a link to a version is for that one, whatever comes after', async () => {
      const { of } = await bucketOf(newest, owner)
      const [first] = await uploaded(of, 'a', '1', '22')
      const versionId = String(first)
      const { signedUrl } = ok(await of.createSignedUrl('a', 60, { versionId }))
      const { signedUrl: plain } = ok(await of.createSignedUrl('a', 60))
      ok(await of.update('a', '333'))
      expect(await (await fetch(signedUrl)).text()).toBe('1')
      expect(await (await fetch(plain)).text()).toBe('333')
      ok(await of.remove(['a']))
      expect(await (await fetch(signedUrl)).text()).toBe('1')
      ok(await of.remove([{ path: 'a', versionId }]))
      expect((await fetch(signedUrl)).status).toBe(clients.isSupabase ? 400 : 404)
      expect(refusedWithCode(await of.createSignedUrl('a', 60, { versionId: unknown }))).toMatchObject({
        code: noVersion,
      })
    })

    it('six uploads at the same moment are six versions, and none of them is lost', async () => {
      const { of } = await bucketOf(newest, owner)
      const texts = ['1', '22', '333', '4444', '55555', '666666']
      await Promise.all(texts.map(async (text) => ok(await of.upload('a', text, { upsert: true }))))
      const history = await historyOf(of, 'a')
      expect(history.filter((row) => row.endsWith(' now'))).toHaveLength(1)
      expect(history.map((row) => row.replace(' now', '')).sort()).toEqual(['1', '2', '3', '4', '5', '6'])
    })

    it('a delete beside an upload leaves both, and one of them as what is there now', async () => {
      const { of } = await bucketOf(newest, owner)
      await uploaded(of, 'a', '1')
      const [removed, updated] = await Promise.all([of.remove(['a']), of.update('a', '22')])
      expect([removed.error, updated.error]).toEqual([null, null])
      expect([
        ['2 now', 'marker', '1'],
        ['marker now', '2', '1'],
      ]).toContainEqual(await historyOf(of, 'a'))
    })

    it('two deletes of versions at the same moment both happen', async () => {
      const { of } = await bucketOf(newest, owner)
      const versions = await uploaded(of, 'a', '1', '22', '333')
      const removed = await Promise.all(
        versions.slice(1).map((versionId) => of.remove([{ path: 'a', versionId }])),
      )
      expect(removed.map((answer) => ok(answer).length)).toEqual([1, 1])
      expect(await historyOf(of, 'a')).toEqual(['1 now'])
    })
  })

  it('a public URL is of a version, also of what was deleted', async () => {
    const { of } = await bucketOf(newest, 'the service key', { public: true })
    const [first] = await uploaded(of, 'a', '1', '22')
    ok(await of.remove(['a']))
    const read = async (options?: { versionId: string }) => {
      const answer = await fetch(of.getPublicUrl('a', options).data.publicUrl)
      return answer.ok ? answer.text() : answer.status
    }
    expect(await read({ versionId: String(first) })).toBe('1')
    expect(await read()).toBe(clients.isSupabase ? 400 : 404)
    expect(await read({ versionId: unknown })).toBe(clients.isSupabase ? 400 : 404)
  })
})
