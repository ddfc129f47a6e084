import type { StorageClient } from '@supabase/storage-js'
import { beforeAll, describe, expect, it } from 'vitest'
import { describeClientInBothModes, ok, refused } from './describe-client.ts'

const NAMES = [
  'b.txt',
  'A.txt',
  'folder/z.txt',
  'folder/a.txt',
  'folder/deep/x.txt',
  'Other/file.txt',
  'c.png',
]

describeClientInBothModes((clients) => {
  let bucket: string
  let files: ReturnType<StorageClient['from']>
  /** Of a bucket that keeps none, told by default alone: of a file, and of a folder. */
  const [ofVersions, ofNone] = clients.isSupabase
    ? [{}, {}]
    : [
        { version: expect.any(String), is_versioned: false, is_delete_marker: false, archived_at: null },
        { version: null, is_versioned: null, is_delete_marker: null, archived_at: null },
      ]

  beforeAll(async () => {
    bucket = await clients.bucket()
    files = clients.service.from(bucket)
    // One after the other, so that their times are in this order too.
    for (const name of NAMES) ok(await files.upload(name, name, { cacheControl: '60' }))
  })

  describe('list', () => {
    const names = async (...args: Parameters<typeof files.list>) =>
      ok(await files.list(...args)).map((entry) => entry.name)

    it('shows one level, files and folders in the order of their lower-cased names', async () => {
      expect(await names()).toEqual(['A.txt', 'b.txt', 'c.png', 'folder', 'Other'])
      expect(await names('')).toEqual(await names())
    })

    it('tells about a file all that its row says, and about a folder nothing', async () => {
      const [deep, file] = ok(await files.list('folder', { sortBy: { order: 'desc' } })).slice(1)

      expect(deep).toEqual({
        name: 'deep',
        id: null,
        updated_at: null,
        created_at: null,
        last_accessed_at: null,
        metadata: null,
        ...ofNone,
      })
      const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]+\.\d{3}Z$/)
      expect(file).toEqual({
        name: 'a.txt',
        id: ok(await files.info('folder/a.txt')).id,
        updated_at: time,
        created_at: time,
        last_accessed_at: time,
        metadata: {
          eTag: expect.stringMatching(/^".+"$/),
          size: 12,
          contentLength: 12,
          mimetype: 'text/plain;charset=UTF-8',
          cacheControl: 'max-age=60',
          lastModified: time,
          httpStatusCode: 200,
        },
        ...ofVersions,
      })
    })

    it.each(['folder', 'folder/'])('looks into a folder given as %j', async (folder) => {
      expect(await names(folder)).toEqual(['a.txt', 'deep', 'z.txt'])
    })

    it('tells folders apart that differ in case alone, unless under Supabase’s rules', async () => {
      const spelled = clients.service.from(await clients.bucket())
      for (const name of ['Photos/a.png', 'photos/b.png', 'PHOTOS/C/c.png'])
        ok(await spelled.upload(name, name))
      const shown = async (...args: Parameters<typeof files.list>) =>
        ok(await spelled.list(...args)).map((entry) => entry.name)

      if (clients.isSupabase) {
        expect((await shown()).map((name) => name.toLowerCase())).toEqual(['photos'])
        expect(await shown('pHOTOS')).toEqual(['a.png', 'b.png', 'C'])
        return
      }
      expect(await shown()).toEqual(['PHOTOS', 'Photos', 'photos'])
      expect(await shown('', { limit: 1, offset: 1 })).toEqual(['Photos'])
      expect(await shown('', { sortBy: { column: 'created_at', order: 'desc' } })).toEqual([
        'photos',
        'Photos',
        'PHOTOS',
      ])
      expect(await shown('', { search: 'PHO' })).toEqual(['PHOTOS', 'Photos', 'photos'])
      expect(await shown('Photos')).toEqual(['a.png'])
      expect(await shown('photos', { search: 'B' })).toEqual(['b.png'])
      expect(await shown('PHOTOS', { search: 'c/' })).toEqual(['C/c.png'])
      expect(await shown('pHOTOS')).toEqual([])
      expect(await names('FOLDER')).toEqual([])
    })

    it.each(['fold', 'absent', 'b.txt', 'folder/a.txt'])(
      'finds nothing in %j, which is no folder',
      async (path) => {
        expect(await names(path)).toEqual([])
      },
    )

    it('gives pages by limit and offset, which count files and folders', async () => {
      expect(await names('', { limit: 2 })).toEqual(['A.txt', 'b.txt'])
      expect(await names('', { limit: 2, offset: 2 })).toEqual(['c.png', 'folder'])
      expect(await names('', { limit: 2, offset: 4 })).toEqual(['Other'])
      expect(await names('', { offset: 5 })).toEqual([])
    })

    it.each([
      [{ column: 'name', order: 'desc' }, ['Other', 'folder', 'c.png', 'b.txt', 'A.txt']],
      [{ column: 'created_at' }, ['folder', 'Other', 'b.txt', 'A.txt', 'c.png']],
      [{ column: 'updated_at', order: 'asc' }, ['folder', 'Other', 'b.txt', 'A.txt', 'c.png']],
      [{ column: 'last_accessed_at', order: 'asc' }, ['folder', 'Other', 'b.txt', 'A.txt', 'c.png']],
    ])('sorts by %j, folders first unless by name', async (sortBy, expected) => {
      expect(await names('', { sortBy })).toEqual(expected)
    })

    it('sorts files by time downwards', async () => {
      const sorted = await names('', { sortBy: { column: 'created_at', order: 'desc' } })

      expect(sorted.filter((name) => name.includes('.'))).toEqual(['c.png', 'A.txt', 'b.txt'])
    })

    it.each([
      ['', 'B', ['b.txt']],
      ['', 'fol', ['folder']],
      ['', '%', []],
      ['', '_', []],
      ['folder', 'D', ['deep']],
      ['', 'folder/a', ['folder/a.txt']],
    ])('searches %j for what begins with %j, case ignored', async (folder, search, expected) => {
      expect(await names(folder, { search })).toEqual(expected)
    })

    it('is empty for a bucket that is not there, and for callers who may see nothing', async () => {
      expect(ok(await clients.service.from('absent').list())).toEqual([])
      expect(ok(await clients.anonymous.from(bucket).list())).toEqual([])
      expect(ok(await clients.user('a-stranger').from(bucket).list())).toEqual([])
    })

    it.each([{ limit: 0 }, { limit: -1 }, { offset: -1 }, { sortBy: { column: 'size' } }])(
      'refuses %j, naming the place',
      async (options) => {
        const refusal = refused(await files.list('', options))

        expect(refusal).toMatchObject({ status: 400, statusCode: '400' })
        expect(refusal.message).toMatch(/^body\/(limit|offset|sortBy\/column) /)
      },
    )
  })

  describe('listV2', () => {
    const all = [
      'A.txt',
      'Other/file.txt',
      'b.txt',
      'c.png',
      'folder/a.txt',
      'folder/deep/x.txt',
      'folder/z.txt',
    ]

    /** Every page until the last, each of at most `limit` entries. */
    async function pages(options: NonNullable<Parameters<typeof files.listV2>[0]>): Promise<string[][]> {
      const found: string[][] = []
      let cursor: string | undefined
      do {
        const page = ok(await files.listV2({ ...options, ...(cursor !== undefined && { cursor }) }))
        found.push([...page.folders, ...page.objects].map((entry) => entry.name).sort())
        expect(page.hasNext).toBe(page.nextCursor !== undefined)
        cursor = page.nextCursor
      } while (cursor !== undefined)
      return found
    }

    it('gives full names byte by byte, and all that a row says', async () => {
      const page = ok(await files.listV2())

      expect(page).toMatchObject({ hasNext: false, folders: [] })
      expect(page).not.toHaveProperty('nextCursor')
      expect(page.objects.map((object) => object.name)).toEqual(all)
      expect(page.objects[0]).toMatchObject({
        id: ok(await files.info('A.txt')).id,
        metadata: { size: 5, mimetype: 'text/plain;charset=UTF-8' },
      })
      expect(page.objects[0]).not.toHaveProperty('key')
    })

    it('folds folders at the slash when asked to', async () => {
      const page = ok(await files.listV2({ with_delimiter: true }))

      expect(page.objects.map(({ name, key }) => [name, key])).toEqual([
        ['A.txt', 'A.txt'],
        ['b.txt', 'b.txt'],
        ['c.png', 'c.png'],
      ])
      expect(page.folders).toEqual(
        ['Other', 'folder'].map((key) => ({
          name: `${key}/`,
          key,
          id: null,
          metadata: null,
          updated_at: null,
          created_at: null,
          last_accessed_at: null,
          ...ofNone,
        })),
      )
    })

    it.each([
      ['fol', ['folder/'], []],
      ['folder/', ['folder/deep/'], ['folder/a.txt', 'folder/z.txt']],
      ['folder/d', ['folder/deep/'], []],
      ['FOLDER/', [], []],
      ['b', [], ['b.txt']],
    ])('takes %j for a plain prefix, case counting', async (prefix, folders, objects) => {
      const page = ok(await files.listV2({ prefix, with_delimiter: true }))

      expect(page.folders.map((folder) => folder.name)).toEqual(folders)
      expect(page.objects.map((object) => object.name)).toEqual(objects)
    })

    it.each([1, 2, 3, 7])('walks through pages of %i without gap or repetition', async (limit) => {
      const flat = await pages({ limit })
      expect(flat.flat()).toEqual(all)
      expect(flat.every((page) => page.length <= limit)).toBe(true)

      const folded = await pages({ limit, with_delimiter: true })
      expect(folded.flat().sort()).toEqual(['A.txt', 'Other/', 'b.txt', 'c.png', 'folder/'])
      expect(folded.every((page) => page.length <= limit)).toBe(true)
    })

    it.each([
      ['name', 'desc', [...all].reverse()],
      ['created_at', 'asc', NAMES],
      ['created_at', 'desc', [...NAMES].reverse()],
      ['updated_at', 'asc', NAMES],
    ] as const)('sorts by %s %s, over pages too', async (column, order, expected) => {
      const sortBy = { column, order }
      expect(ok(await files.listV2({ sortBy })).objects.map((object) => object.name)).toEqual(expected)
      expect((await pages({ sortBy, limit: 1 })).flat()).toEqual(expected)
    })

    it('keeps the order of the first page, whatever later requests say', async () => {
      const first = ok(await files.listV2({ limit: 3, sortBy: { column: 'name', order: 'desc' } }))
      const cursor = first.nextCursor ?? ''
      const second = ok(
        await files.listV2({ limit: 3, cursor, sortBy: { column: 'created_at', order: 'asc' } }),
      )

      expect([...first.objects, ...second.objects].map((object) => object.name)).toEqual(
        [...all].reverse().slice(0, 6),
      )
    })

    it('refuses a cursor that is none', async () => {
      expect(refused(await files.listV2({ cursor: 'garbage' }))).toMatchObject({
        status: 400,
        statusCode: '400',
      })
    })

    it('is empty for a bucket that is not there, and for callers who may see nothing', async () => {
      const empty = { hasNext: false, folders: [], objects: [] }

      expect(ok(await clients.service.from('absent').listV2())).toEqual(empty)
      expect(ok(await clients.user('a-stranger').from(bucket).listV2())).toEqual(empty)
    })
  })
})
