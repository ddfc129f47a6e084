import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fold, folderModel, type ListedFile, pageModel } from '../../support/list-model.ts'
import { withPolicies } from '../../support/policies.ts'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'

/** Lists of random trees of names, against plain models of wire §3.12 and §3.13. */

let server: TestServer
/** Over the same rows. */
let compat: Served
beforeAll(async () => {
  server = await startTestServer()
  compat = await server.beside({ STORAGE_COMPAT: 'supabase' })
})
afterAll(async () => {
  await compat.close()
  await server.close()
})

/** The models are asked on several PostgreSQLs, and in full size on all that are here. */
const RUNS = { numRuns: process.env.DATABASES === 'full' ? 100 : 30 }

/** Two spellings of letters, and what stands around the slash in byte order: that is where lists go wrong. */
const ASCII = ['a', 'A', 'b', 'B', '0', '-', '.', ' ', '!', '%', '_']
const OTHERS = ['é', 'É', 'Σ', 'ς', 'İ', 'ß', '图', '\u{10ffff}', '\ud7ff', '\u{1f600}']
/** Of which lower case makes one. */
const ALIKE = [
  ['k', 'K', '\u{212a}', '\u0307'],
  ['i', 'I', 'İ', '\u0307'],
  ['ǆ', 'ǅ', 'Ǆ'],
  ['ÿ', 'Ÿ'],
  ['ᾳ', 'ᾼ'],
  ['s', 'S', 'ſ'],
]

/** Objects whose names are made of few characters, so that they meet in folders. */
const tree = fc
  .tuple(
    fc.subarray(ASCII, { minLength: 2, maxLength: 4 }),
    fc.oneof(fc.subarray(OTHERS, { maxLength: 1 }), fc.constantFrom(...ALIKE)),
  )
  .chain(([ascii, others]) => {
    const character = fc.constantFrom('/', '/', ...ascii, ...others)
    const moment = fc.integer({ min: 0, max: 3 }).map((n) => new Date(1_700_000_000_000 + n))
    const file: fc.Arbitrary<ListedFile> = fc.record({
      name: fc.array(character, { minLength: 1, maxLength: 5, size: 'max' }).map((parts) => parts.join('')),
      createdAt: moment,
      updatedAt: moment,
      micros: fc.integer({ min: 0, max: 999 }),
    })
    return fc.uniqueArray(file, { selector: ({ name }) => name, minLength: 1, maxLength: 15, size: 'max' })
  })

/** The beginning of a name that is there, in any case; nothing; or anything. */
const beginning = (files: ListedFile[]) =>
  fc.oneof(
    fc.constant(''),
    fc.constantFrom(...files).chain(({ name }) => {
      const cut = fc.nat(5).map((length) => [...name].slice(0, length).join(''))
      return fc.oneof(
        cut,
        cut.map((text) => text.toUpperCase()),
      )
    }),
    fc.string(),
  )
const order = fc.constantFrom('asc', 'desc')
const limit = fc.integer({ min: 1, max: 6 })

describe.each(['default', 'supabase'] as const)('list v1 under %s rules', (mode) => {
  const exactFolders = mode === 'default'
  const ask = (bucket: string, body: object, token?: string) =>
    post('list', bucket, body, token, exactFolders ? server : compat) as Promise<Entry[]>
  /** Case ignored, any spelling of a folder may be the one shown. */
  const shownAs = ({ name, isFolder }: { name: string; isFolder: boolean }) => [
    isFolder,
    isFolder && !exactFolders ? fold(name) : name,
  ]

  /** A prefix, and what is sought behind it: together the beginning of a name. */
  const listing = tree.chain((files) =>
    fc.record({
      files: fc.constant(files),
      whole: beginning(files),
      cut: fc.nat(5),
      withSlash: fc.boolean(),
      column: fc.constantFrom('name', 'created_at', 'updated_at', 'last_accessed_at'),
      order,
      size: limit,
    }),
  )

  it('shows one level of a folder, in the order asked for, on pages without gap or repetition', async () => {
    const property = fc.asyncProperty(
      listing,
      async ({ files, whole: sought, cut, withSlash, size, ...sortBy }) => {
        const slash = sought.lastIndexOf('/', cut)
        const search = sought.slice(slash + 1)
        const prefix = sought.slice(0, withSlash || slash < 0 ? slash + 1 : slash)
        const bucket = await bucketOf(files)
        const list = (page: object) => ask(bucket, { prefix, search, sortBy, ...page })
        const whole = await list({ limit: 1000 })

        const model = folderModel(files, prefix, search, sortBy.column, sortBy.order, exactFolders)
        expect(whole.map(({ name, id }) => shownAs({ name, isFolder: id === null }))).toEqual(
          model.map(shownAs),
        )

        const paged: Entry[] = []
        for (let offset = 0; offset <= whole.length; offset += size) {
          const page = await list({ limit: size, offset })
          expect(page.length).toBe(Math.min(size, whole.length - offset))
          paged.push(...page)
        }
        expect(paged).toEqual(whole)
      },
    )
    await fc.assert(property, RUNS)
  })

  it('shows a level that is too large to be sorted in the same order', async () => {
    const files = [
      ...many('Dir/'),
      ...['Dir/Same/a', 'Dir/same/a', 'Dir/sAME/a', 'dir/Same/b', 'dir/SAME/b', 'dir/file'].map(plain),
    ]
    const bucket = await bucketOf([...files, plain('other')])
    for (const column of ['created_at', 'updated_at', 'last_accessed_at']) {
      for (const order of ['asc', 'desc']) {
        const model = folderModel(files, 'Dir', '', column, order, exactFolders).map(shownAs)
        // All folders, the last of them with the first files, files alone, the last file, and what is behind it.
        for (const offset of [0, 1, 45, 51, 3000, model.length - 1, model.length]) {
          const page = { prefix: 'Dir', limit: 10, offset, sortBy: { column, order } }
          const shown = (await ask(bucket, page)).map(({ name, id }) =>
            shownAs({ name, isFolder: id === null }),
          )
          expect([column, order, offset, shown]).toEqual([
            column,
            order,
            offset,
            model.slice(offset, offset + 10),
          ])
        }
      }
    }
  })

  it('says of a folder nothing but its name, and of a file everything', async () => {
    const bucket = await bucketOf([
      { name: 'folder/a', createdAt: new Date(0), updatedAt: new Date(1), micros: 5 },
      { name: 'file', createdAt: new Date(2), updatedAt: new Date(3), micros: 5 },
    ])
    await server.admin`update storage.objects set metadata = '{"size": 7}' where bucket_id = ${bucket}`
    const none = { id: null, created_at: null, updated_at: null, last_accessed_at: null, metadata: null }
    const version = { version: null, archived_at: null, is_versioned: false, is_delete_marker: false }
    const noVersion = { ...version, is_versioned: null, is_delete_marker: null }
    expect(await ask(bucket, { prefix: '' })).toEqual([
      {
        name: 'file',
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        created_at: '1970-01-01T00:00:00.002Z',
        updated_at: expect.stringMatching(/^\d{4}-.*Z$/),
        last_accessed_at: expect.stringMatching(/^\d{4}-.*Z$/),
        metadata: { size: 7 },
        ...(mode === 'default' && version),
      },
      { name: 'folder', ...none, ...(mode === 'default' && noVersion) },
    ])
  })

  it('shows a folder whose name comes in two spellings once, or where case counts for folders each', async () => {
    const bucket = await bucketOf(['Photos/a', 'photos/b', 'PHOTOS', 'photos/c/d', 'Photos/C/e'].map(plain))
    const list = async (prefix: string, search = '') =>
      (await ask(bucket, { prefix, search })).map(({ name, id }) => (id === null ? `${name}/` : name))
    if (exactFolders) {
      expect(await list('')).toEqual(['PHOTOS', 'Photos/', 'photos/'])
      expect(await list('Photos')).toEqual(['a', 'C/'])
      expect(await list('photos/')).toEqual(['b', 'c/'])
      expect(await list('pHOTOS')).toEqual([])
    } else {
      expect((await list('')).map(fold)).toEqual(['photos', 'photos/'])
      for (const spelling of ['Photos', 'photos/', 'pHOTOS']) {
        expect((await list(spelling)).map(fold)).toEqual(['a', 'b', 'c/'])
      }
    }
    // What is sought goes down whatever the case.
    const found = exactFolders ? ['Photos/C/', 'photos/c/'] : ['photos/c/']
    expect((await list('', 'PHOTOS/C')).map(exactFolders ? String : fold)).toEqual(found)
  })

  it('shows a folder of many spellings, among names that agree with it for long, on pages', async () => {
    const bits = Array.from({ length: 64 }, (_, index) => index)
    const spelled = (bit: number) =>
      [...'abcdef'].map((char, at) => ((bit >> at) & 1 ? char.toUpperCase() : char)).join('')
    const files = bits.flatMap((bit) =>
      [`${spelled(bit)}x`, `${spelled(bit)}-y/${bit}`, ...(bit % 3 ? [] : [`${spelled(bit)}z/file`])].map(
        plain,
      ),
    )
    const bucket = await bucketOf(files)
    for (const order of ['asc', 'desc']) {
      const model = folderModel(files, '', '', 'name', order, exactFolders).map(shownAs)
      const shown: unknown[] = []
      for (let offset = 0; offset < model.length; offset += 7) {
        const page = await ask(bucket, { prefix: '', limit: 7, offset, sortBy: { order } })
        shown.push(...page.map(({ name, id }) => shownAs({ name, isFolder: id === null })))
      }
      expect(shown).toEqual(model)
    }
  })

  it('shows a spelling of a folder only to who may see something in it', async () => {
    const bucket = await bucketOf(
      ['Team/hidden', 'TEAM/seen', 'team/hidden', 'team/seen', 'teAm/x/hidden'].map(plain),
    )
    const token = await server.token('somebody')
    const policy = `create policy "visible" on storage.objects for select to authenticated
      using (bucket_id = '${bucket}' and name not like '%hidden')`
    await withPolicies(server.admin, policy, async () => {
      for (const column of ['name', 'created_at']) {
        const shown = await ask(bucket, { prefix: '', sortBy: { column } }, token)
        expect(shown.map(({ name }) => (exactFolders ? name : fold(name)))).toEqual(
          exactFolders ? ['TEAM', 'team'] : ['team'],
        )
        expect(await ask(bucket, { prefix: 'Team', sortBy: { column } }, token)).toHaveLength(
          exactFolders ? 0 : 2,
        )
      }
    })
  })
})

describe('the spellings of a folder', () => {
  it('are sought with all letters of which lower case makes the same', async () => {
    const missing = await server.admin`
      select i from generate_series(1, 1114111) i
      where i not between 55296 and 57343
        and position(chr(i) in storage.spelled_as(lower(chr(i) collate "default"))) = 0`
    expect(missing).toEqual([])
  })

  it('are told to nobody who has a login of his own', async () => {
    const bucket = await bucketOf([plain('Hidden/file')])
    const login = `someone_${randomUUID().slice(0, 8)}`
    const asked = server.admin.begin(async (sql) => {
      await sql.unsafe(
        `create role ${login}; grant authenticated to ${login}; set session authorization ${login}`,
      )
      await sql`set local role authenticated`
      await sql`select storage.folder_spellings(${bucket}, 'hidden/', '')`
    })
    await expect(asked).rejects.toMatchObject({
      code: '42501',
      message: expect.stringContaining('spellings'),
    })
  })
})

describe('list v2', () => {
  const listing = tree.chain((files) =>
    fc.record({
      files: fc.constant(files),
      prefix: beginning(files),
      with_delimiter: fc.boolean(),
      column: fc.constantFrom('name', 'created_at', 'updated_at'),
      order,
      size: limit,
    }),
  )

  it('shows every name with the prefix, in the order asked for, on pages without gap or repetition', async () => {
    const property = fc.asyncProperty(listing, async ({ files, column, order, size, ...rest }) => {
      const bucket = await bucketOf(files)
      const model = pageModel(files, rest.prefix, rest.with_delimiter, column, order)
      const paged: string[] = []
      let cursor: string | undefined
      do {
        // The cursor remembers the order; what later pages say about it does not count.
        const sortBy = cursor === undefined ? { column, order } : { column: 'name', order: 'asc' }
        const page = (await post('list-v2', bucket, { ...rest, sortBy, cursor, limit: size })) as Page
        expect(page.folders.every((folder) => folder.id === null && folder.name.endsWith('/'))).toBe(true)
        expect(page.objects.every((object) => object.id !== null)).toBe(true)
        const shown = [...page.folders, ...page.objects].map((entry) => entry.name)
        const expected = model.slice(paged.length, paged.length + size)
        expect(shown.sort()).toEqual([...expected].sort()) // the two arrays are each in order, tested below
        expect(page.folders.map((folder) => folder.name)).toEqual(keep(expected, page.folders))
        expect(page.objects.map((object) => object.name)).toEqual(keep(expected, page.objects))
        paged.push(...expected)
        expect(page.hasNext).toBe(paged.length < model.length)
        expect([page.nextCursor === undefined, page.nextCursorKey]).toEqual([
          !page.hasNext,
          page.hasNext ? paged.at(-1) : undefined,
        ])
        cursor = page.nextCursor
      } while (cursor !== undefined)
      expect(paged).toEqual(model)
    })
    await fc.assert(property, RUNS)
  })

  it('shows more names with a prefix than are sorted in the same order, page by page', async () => {
    const files = many('Dir/')
    const bucket = await bucketOf([...files, plain('Dia'), plain('Dis')])
    for (const column of ['created_at', 'updated_at']) {
      for (const order of ['asc', 'desc']) {
        const found: string[] = []
        let cursor: string | undefined
        do {
          const page = (await post('list-v2', bucket, {
            prefix: 'Dir',
            sortBy: { column, order },
            cursor,
          })) as Page
          found.push(...page.objects.map((entry) => entry.name))
          cursor = page.nextCursor
        } while (cursor !== undefined)
        expect(found).toEqual(pageModel(files, 'Dir', false, column, order))
      }
    }
  })

  it.each(['', 'a', 'a/', 'a b'])(
    'goes on rightly from every entry among the nearest neighbours, from the prefix %j',
    async (prefix) => {
      // In byte order: what comes just before the slash, objects with it at their end, and what comes just after.
      const names = ['a', 'a b', 'a!', 'a-b', 'a.', 'a/', 'a/ ', 'a//', 'a/b', 'a/b/', 'a0', 'b'].map(plain)
      const bucket = await bucketOf(names)
      for (const with_delimiter of [false, true]) {
        for (const order of ['asc', 'desc']) {
          const found: string[] = []
          let cursor: string | undefined
          do {
            const body = { prefix, with_delimiter, limit: 1, sortBy: { order }, cursor }
            const page = (await post('list-v2', bucket, body)) as Page
            found.push(...[...page.folders, ...page.objects].map((entry) => entry.name))
            cursor = page.nextCursor
          } while (cursor !== undefined)
          expect(found).toEqual(pageModel(names, prefix, with_delimiter, 'name', order))
        }
      }
    },
  )

  it.each(['asc', 'desc'])(
    'shows nothing beside the prefix when a cursor of another one is sent, %s',
    async (order) => {
      const bucket = await bucketOf(['a/1', 'a/2', 'b/1', 'b/2', 'c/1', 'c/2'].map(plain))
      for (const [prefix, cursor] of [
        ['a/', 'c/1'],
        ['c/', 'a/1'],
        ['b/', 'c/1'],
        ['b/', 'a/1'],
      ] as const) {
        const made = { after: cursor, order, column: 'name' }
        const page = (await post('list-v2', bucket, {
          prefix,
          with_delimiter: true,
          cursor: Buffer.from(JSON.stringify(made)).toString('base64url'),
        })) as Page
        expect(page.folders).toEqual([])
        const beyond = order === 'asc' ? prefix > cursor : prefix < cursor
        expect(page.objects.map((object) => object.name).sort()).toEqual(
          beyond ? [`${prefix}1`, `${prefix}2`] : [],
        )
      }
    },
  )
})

describe('both lists, under RLS', () => {
  it('show a folder only if it holds something that the caller may see', async () => {
    const bucket = await bucketOf(
      ['dir/sub/x', 'dir/y', 'hidden/z', 'mine/hidden/z', 'mine/z', 'top'].map(plain),
    )
    const token = await server.token('somebody')
    const policy = `create policy "visible" on storage.objects for select to authenticated
      using (bucket_id = '${bucket}' and name not like '%hidden%' and name <> 'top');`
    await withPolicies(server.admin, policy, async () => {
      const v1 = (await post('list', bucket, { prefix: '' }, token)) as Entry[]
      expect(v1.map((entry) => entry.name)).toEqual(['dir', 'mine'])
      const mine = (await post('list', bucket, { prefix: 'mine' }, token)) as Entry[]
      expect(mine.map((entry) => entry.name)).toEqual(['z'])
      for (const column of ['name', 'created_at']) {
        const body = { with_delimiter: true, sortBy: { column } }
        const v2 = (await post('list-v2', bucket, body, token)) as Page
        expect([...v2.folders, ...v2.objects].map((entry) => entry.name)).toEqual(['dir/', 'mine/'])
      }
    })
  })

  it.each(['list', 'list-v2'])('%s is empty for a bucket that does not exist', async (route) => {
    const answer = await post(route, 'nowhere', { prefix: '' })
    expect(answer).toEqual(route === 'list' ? [] : { hasNext: false, folders: [], objects: [] })
  })
})

interface Entry {
  name: string
  id: string | null
}

interface Page {
  hasNext: boolean
  nextCursor?: string
  nextCursorKey?: string
  folders: Entry[]
  objects: Entry[]
}

/** Of `names`, those that are among the entries. */
function keep(names: string[], entries: Entry[]): string[] {
  const there = new Set(entries.map((entry) => entry.name))
  return names.filter((each) => there.has(each))
}

function plain(name: string): ListedFile {
  return { name, createdAt: new Date(0), updatedAt: new Date(0), micros: 0 }
}

/** More files and folders of one level than are sorted, which share their times with some others. */
function many(folder: string): ListedFile[] {
  return Array.from({ length: 5250 }, (_, index) => ({
    name: `${folder}${index % 105 === 0 ? `${index}/a` : index}`,
    createdAt: new Date(1_700_000_000_000 + ((index * 7919) % 1009)),
    updatedAt: new Date(1_700_000_000_000 + ((index * 104_729) % 997)),
    micros: index % 2,
  }))
}

/** A new bucket with these objects, as rows alone. */
async function bucketOf(files: ListedFile[]): Promise<string> {
  const id = randomUUID()
  await server.admin`insert into storage.buckets (id, name) values (${id}, ${id})`
  const rows = files.map((each) => ({
    bucket_id: id,
    name: each.name,
    created_at: withMicros(each.createdAt, each.micros),
    updated_at: withMicros(each.updatedAt, each.micros),
    last_accessed_at: withMicros(each.updatedAt, each.micros),
  }))
  if (rows.length > 0) await server.admin`insert into storage.objects ${server.admin(rows)}`
  return id
}

function withMicros(date: Date, micros: number): string {
  return date.toISOString().replace('Z', `${String(micros).padStart(3, '0')}Z`)
}

async function post(
  route: string,
  bucket: string,
  body: object,
  token?: string,
  at: Served = server,
): Promise<unknown> {
  const response = await at.request('POST', `/object/${route}/${bucket}`, {
    body,
    ...(token && { token }),
  })
  expect(response.status).toBe(200)
  return response.json()
}
