import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dropPolicies } from '../../support/policies.ts'
import { describeClientInBothModes, ok } from '../describe-client.ts'
import { bucketOf, type Files, NewestClients, OWNERS, POLICIES, uploaded } from './newest-client.ts'

// Wire §13.2, lists with what was there, with the newest storage-js.
describeClientInBothModes((clients) => {
  const newest = new NewestClients(clients)
  beforeAll(() => clients.server.admin.unsafe(POLICIES))
  afterAll(() => dropPolicies(clients.server.admin))

  type Row = Awaited<ReturnType<Files['list']>>['data'] extends (infer R)[] | null ? R : never

  /** Each by its name, and how long it was, in bytes; `now` behind what is there now. */
  const brief = (row: Pick<Row, 'name' | 'id' | 'metadata' | 'is_delete_marker' | 'archived_at'>) => {
    if (row.id === null) return `${row.name}/`
    const what = row.is_delete_marker ? 'marker' : row.metadata?.size
    return `${row.name} ${what}${row.archived_at === null ? ' now' : ''}`
  }

  /** Two versions, a name that was deleted, and the same in a folder. */
  async function filled(owner: (typeof OWNERS)[number]): Promise<Files> {
    const { of } = await bucketOf(newest, owner)
    for (const folder of ['', 'in/']) {
      await uploaded(of, `${folder}a`, '1', '22')
      await uploaded(of, `${folder}gone`, '1')
    }
    ok(await of.remove(['gone', 'in/gone']))
    return of
  }

  describe.each(OWNERS)('with %s', (owner) => {
    let of: Files
    beforeAll(async () => {
      of = await filled(owner)
    })

    it.each([
      [{ deleteMarkers: 'include' }, ['a 2 now', 'gone marker now', 'in/']],
      [{ deleteMarkers: 'only' }, ['gone marker now', 'in/']],
      [{ noncurrentVersions: 'include' }, ['a 2 now', 'a 1', 'gone 1', 'in/']],
      [{ noncurrentVersions: 'only' }, ['a 1', 'gone 1', 'in/']],
      [
        { noncurrentVersions: 'include', deleteMarkers: 'include' },
        ['a 2 now', 'a 1', 'gone marker now', 'gone 1', 'in/'],
      ],
      [{ noncurrentVersions: 'only', deleteMarkers: 'only' }, []],
    ] as const)('list shows of %j %j', async (options, expected) => {
      expect(ok(await of.list('', options)).map(brief)).toEqual(expected)
    })

    it('list shows what is there now, unless it is asked for more', async () => {
      expect(ok(await of.list()).map(({ name }) => name)).toEqual(['a', 'in'])
      const { objects } = ok(await of.listV2())
      expect(objects.map(({ name }) => name)).toEqual(['a', 'in/a'])
    })

    it('a row tells which version it is', async () => {
      const rows = ok(await of.list('a', { exactMatch: true, noncurrentVersions: 'include' }))
      expect(rows).toMatchObject([
        { name: 'a', is_versioned: true, is_delete_marker: false, archived_at: null },
        { name: 'a', is_versioned: true, is_delete_marker: false, archived_at: expect.any(String) },
      ])
      for (const { version, metadata } of rows) {
        const blob = ok(await of.download('a', { versionId: String(version) }))
        expect(blob.size).toBe(metadata?.size)
      }
      const [folder] = ok(await of.list('', { noncurrentVersions: 'only' })).slice(-1)
      expect(folder).toMatchObject({
        name: 'in',
        id: null,
        version: null,
        archived_at: null,
        is_versioned: null,
        is_delete_marker: null,
      })
    })

    it('listV2 shows of a name alone what is exactly that, newest first', async () => {
      const all = { noncurrentVersions: 'include', deleteMarkers: 'include' } as const
      const exactly = async (prefix: string) =>
        ok(await of.listV2({ prefix, exactMatch: true, ...all })).objects.map(brief)
      expect(await exactly('in/gone')).toEqual(['in/gone marker now', 'in/gone 1'])
      expect(await exactly('in/g')).toEqual([])
      expect(await exactly('in/')).toEqual([])
      expect(ok(await of.listV2({ prefix: 'a', exactMatch: true })).objects.map(({ name }) => name)).toEqual([
        'a',
      ])
    })

    it('listV2 goes on within the versions of a name, and behind a folder', async () => {
      const found: string[] = []
      let cursor: string | undefined
      do {
        const page = ok(
          await of.listV2({
            noncurrentVersions: 'include',
            deleteMarkers: 'include',
            with_delimiter: true,
            limit: 1,
            ...(cursor && { cursor }),
          }),
        )
        found.push(...page.objects.map(brief), ...page.folders.map(({ name }) => name))
        cursor = page.nextCursor
      } while (cursor)
      expect(found).toEqual(['a 2 now', 'a 1', 'gone marker now', 'gone 1', 'in/'])
    })
  })

  it('shows nobody what the policies hide, nor that it was there', async () => {
    const { bucket, of } = await bucketOf(newest, 'a signed-in user')
    await uploaded(of, 'a', '1', '22')
    await uploaded(of, 'gone', '1')
    ok(await of.remove(['gone']))
    const all = { noncurrentVersions: 'include', deleteMarkers: 'include' } as const
    const others = [(await newest.user('bob')).from(bucket)]
    for (const other of others) {
      expect(ok(await other.list('', all))).toEqual([])
      expect(ok(await other.listV2(all))).toMatchObject({ objects: [], folders: [], hasNext: false })
      expect(ok(await other.listV2({ prefix: 'gone', exactMatch: true, ...all })).objects).toEqual([])
    }
    expect(ok(await of.listV2(all)).objects).toHaveLength(4)
  })
})
