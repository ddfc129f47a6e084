import { randomUUID } from 'node:crypto'
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  PutObjectCommand,
  RenameObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { TusRequests } from '../../support/tus-requests.ts'

/**
 * What stays of what (the table of docs/versions.md), by REST, S3 and TUS. What plain SQL leaves is in
 * test/database/plain-sql-versions.test.ts.
 */

let server: S3TestServer
let bucket: string
beforeAll(async () => {
  server = await startS3Server()
})
afterAll(() => server.close())

type Init = Parameters<S3TestServer['request']>[2]

async function ask(method: string, path: string, init?: Init): Promise<Response> {
  const answer = await server.request(method, `/storage/v1${path}`, init)
  expect(answer.ok, `${method} ${path}: ${await answer.clone().text()}`).toBe(true)
  return answer
}

const put = (body: string, name = 'a') => ask('PUT', `/object/${bucket}/${name}`, { body })
const idOf = async (name = 'a') =>
  String(Object(await (await ask('GET', `/object/info/${bucket}/${name}`)).json()).version)
const configure = (body: object) => ask('PUT', `/bucket/${bucket}`, { body })
const copyOrMove = (how: 'copy' | 'move', sourceKey: string, destinationKey: string, init: Init = {}) =>
  ask('POST', `/object/${how}`, { ...init, body: { bucketId: bucket, sourceKey, destinationKey } })

/** What a bucket is, and its object `a`, which is a null version where it was written while versions were off. */
const COLUMNS = {
  DISABLED: {},
  'DISABLED, with trash': { trashDays: 7 },
  ENABLED: { status: 'ENABLED' },
  'ENABLED, with trash': { status: 'ENABLED', trashDays: 7 },
  SUSPENDED: { status: 'SUSPENDED' },
  'SUSPENDED, a null version': { status: 'SUSPENDED', isNull: true },
  'SUSPENDED, a null version, with trash': { status: 'SUSPENDED', isNull: true, trashDays: 7 },
} as const
type Column = keyof typeof COLUMNS

/** Returns the version of `a`. */
async function prepare(column: Column): Promise<string> {
  const {
    status,
    isNull,
    trashDays = 0,
  }: { status?: string; isNull?: boolean; trashDays?: number } = COLUMNS[column]
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { trash_days: trashDays })
  if (isNull) await put('one')
  if (status !== undefined) await configure({ versioning_status: 'ENABLED' })
  if (!isNull) await put('one')
  if (status === 'SUSPENDED') await configure({ versioning_status: status })
  return idOf()
}

/** What was there under a name, in order. */
async function history(name = 'a'): Promise<string[]> {
  const rows = await server.admin`
    select kind, is_versioned from storage.object_versions where bucket_id = ${bucket} and name = ${name} order by sequence`
  return rows.map(({ kind, is_versioned }) => (is_versioned || kind === 'trash' ? kind : `${kind} null`))
}

const live = async (name = 'a') => {
  const answer = await server.request('GET', `/storage/v1/object/${bucket}/${name}`)
  return answer.ok ? answer.text() : answer.status
}

const isStored = async (version: string) =>
  (await server.storedFiles()).some((file) => file.endsWith(version))

type Left = Record<Column, string[]>

/** Of a row of the table, each deed in each column. */
function tryAll(deeds: Record<string, () => Promise<unknown>>, left: Left, then: string | number): void {
  const cells = Object.keys(deeds).flatMap((deed) =>
    Object.entries(left).map(([column, kinds]) => [deed, column as Column, kinds] as const),
  )
  it.each(cells)('by %s, %s: %j', async (deed, column, kinds) => {
    const version = await prepare(column)
    await deeds[deed]?.()
    expect([await live(), await history()]).toEqual([then, kinds])
    expect(await isStored(version)).toBe(kinds.some((kind) => !kind.startsWith('delete_marker')))
  })
}

const VERSION_AND_MARKER = ['version', 'delete_marker']
const BY_SUSPENDED = ['version', 'delete_marker null']

const NOTHING: Left = {
  DISABLED: [],
  'DISABLED, with trash': [],
  ENABLED: [],
  'ENABLED, with trash': [],
  SUSPENDED: [],
  'SUSPENDED, a null version': [],
  'SUSPENDED, a null version, with trash': [],
}

const REPLACED: Left = {
  ...NOTHING,
  ENABLED: ['version'],
  'ENABLED, with trash': ['version'],
  SUSPENDED: ['version'],
}

const DELETED: Left = {
  DISABLED: [],
  'DISABLED, with trash': ['trash'],
  ENABLED: VERSION_AND_MARKER,
  'ENABLED, with trash': VERSION_AND_MARKER,
  SUSPENDED: BY_SUSPENDED,
  'SUSPENDED, a null version': ['delete_marker null'],
  'SUSPENDED, a null version, with trash': ['trash', 'delete_marker null'],
}

const remove = (query = '', init?: Init) => ask('DELETE', `/object/${bucket}/a${query}`, init)
const removeMany = (more: object = {}, prefixes: unknown[] = ['a']) =>
  ask('DELETE', `/object/${bucket}`, { body: { prefixes, ...more } })
const current = async () => ({
  'if-match': (await ask('HEAD', `/object/authenticated/${bucket}/a`)).headers.get('etag') ?? '',
})

describe('an object that is overwritten', () => {
  const deeds = {
    PUT: () => put('two'),
    'PUT with a condition': async () =>
      ask('PUT', `/object/${bucket}/a`, { body: 'two', headers: await current() }),
    'a copy': async () => {
      await put('two', 'b')
      await copyOrMove('copy', 'b', 'a', { headers: { 'x-upsert': 'true' } })
    },
    S3: () => server.s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'a', Body: 'two' })),
    'a copy by S3': async () => {
      await put('two', 'b')
      await server.s3.send(new CopyObjectCommand({ Bucket: bucket, Key: 'a', CopySource: `${bucket}/b` }))
    },
    TUS: () =>
      new TusRequests(server).create({ bucket, name: 'a' }, 3, {
        headers: { 'x-upsert': 'true' },
        body: 'two',
      }),
  }
  tryAll(deeds, REPLACED, 'two')
})

describe('an object that is deleted', () => {
  const deeds = {
    REST: () => remove(),
    'REST with a condition': async () => remove('', { headers: await current() }),
    'a bulk deletion': () => removeMany(),
    S3: () => server.s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'a' })),
    'a bulk deletion by S3': () =>
      server.s3.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: [{ Key: 'a' }] } })),
  }
  tryAll(deeds, DELETED, 404)
})

describe('an object that is deleted, and not for good', () => {
  const deeds = {
    REST: () => remove('?permanent=false'),
    'REST with a condition': async () => remove('?permanent=false', { headers: await current() }),
    'a bulk deletion': () => removeMany({ permanent: false }),
  }
  const left: Left = {
    ...DELETED,
    DISABLED: ['trash'],
    'SUSPENDED, a null version': ['trash', 'delete_marker null'],
  }
  tryAll(deeds, left, 404)
})

describe('an object that is deleted for good', () => {
  const deeds = {
    REST: () => remove('?permanent=true'),
    'REST with a condition': async () => remove('?permanent=true', { headers: await current() }),
    'a bulk deletion': () => removeMany({ permanent: true }),
    'emptying its bucket': () => ask('POST', `/bucket/${bucket}/empty`),
    'its versionId': async () => remove(`?versionId=${await idOf()}`),
    'its versionId among others': async () => removeMany({}, [{ path: 'a', versionId: await idOf() }]),
  }
  tryAll(deeds, NOTHING, 404)

  it.each([
    ['?permanent=true', 404],
    ['/empty', 404],
  ])('by %s has no versions either', async (how, then) => {
    await prepare('ENABLED')
    await put('two')
    await (how === '/empty' ? ask('POST', `/bucket/${bucket}/empty`) : remove(how))
    expect([await live(), await history()]).toEqual([then, []])
  })

  it('leaves in the trash what was deleted there before', async () => {
    await prepare('DISABLED, with trash')
    await remove()
    await put('two')
    await remove('?permanent=true')
    expect(await history()).toEqual(['trash'])
  })
})

describe('a name that is not there', () => {
  const status = async (query = '') =>
    (await server.request('DELETE', `/storage/v1/object/${bucket}/b${query}`)).status
  const left: Left = {
    ...NOTHING,
    ENABLED: ['delete_marker'],
    'ENABLED, with trash': ['delete_marker'],
    SUSPENDED: ['delete_marker null'],
    'SUSPENDED, a null version': ['delete_marker null'],
    'SUSPENDED, a null version, with trash': ['delete_marker null'],
  }
  it.each(Object.entries(left) as [Column, string[]][])('in %s leaves %j', async (column, kinds) => {
    await prepare(column)
    expect(await status('?permanent=true')).toBe(404)
    expect(await history('b')).toEqual([])
    expect([await status(), await status()]).toEqual(kinds.length === 0 ? [404, 404] : [204, 204])
    await server.s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'b' }))
    const rows = Object(await (await removeMany({}, ['b'])).json())
    expect(rows).toHaveLength(kinds.length)
    expect(await history('b')).toEqual(kinds)
  })
})

describe('a version that is deleted by its versionId', () => {
  it.each<Column>(['ENABLED', 'SUSPENDED'])('in %s lets the one before move up', async (column) => {
    const first = await prepare(column)
    await put('two')
    await remove(`?versionId=${await idOf()}`)
    expect([await live(), await idOf(), await history()]).toEqual(['one', first, []])
  })

  it.each<Column>(['ENABLED', 'SUSPENDED'])('in %s is gone, and nothing else is', async (column) => {
    const first = await prepare(column)
    await put('two')
    await remove(`?versionId=${first}`)
    expect([await live(), await history(), await isStored(first)]).toEqual(['two', [], false])
  })

  it.each<Column>(['ENABLED', 'SUSPENDED'])('in %s as a marker brings back what it hides', async (column) => {
    await prepare(column)
    await remove()
    const [row] = await server.admin`
      select version from storage.object_versions where bucket_id = ${bucket} and is_delete_marker`
    await remove(`?versionId=${row?.version}`)
    expect([await live(), await history()]).toEqual(['one', []])
  })

  it.each<Column>(['DISABLED', 'DISABLED, with trash'])('in %s is none', async (column) => {
    await prepare(column)
    const answer = await server.request('DELETE', `/storage/v1/object/${bucket}/a?versionId=${randomUUID()}`)
    expect([answer.status, await live(), await history()]).toEqual([404, 'one', []])
  })
})

describe('an object that gets another name', () => {
  const left: Left = {
    ...NOTHING,
    ENABLED: VERSION_AND_MARKER,
    'ENABLED, with trash': VERSION_AND_MARKER,
    SUSPENDED: BY_SUSPENDED,
    'SUSPENDED, a null version': ['delete_marker null'],
    'SUSPENDED, a null version, with trash': ['delete_marker null'],
  }
  it.each(Object.entries(left) as [Column, string[]][])(
    'in %s leaves %j at the old one',
    async (column, kinds) => {
      await prepare(column)
      await copyOrMove('move', 'a', 'b')
      expect([await live(), await live('b'), await history(), await history('b')]).toEqual([
        404,
        'one',
        kinds,
        [],
      ])
    },
  )
})

describe('an object that is replaced by a move', () => {
  const rename = async () => {
    await put('two', 'b')
    await server.s3.send(new RenameObjectCommand({ Bucket: bucket, Key: 'a', RenameSource: `${bucket}/b` }))
  }
  tryAll({ 'S3’s rename': rename }, REPLACED, 'two')
})

describe('what is beyond the number of versions', () => {
  it.each<Column>(['ENABLED', 'SUSPENDED'])('in %s is gone', async (column) => {
    const version = await prepare(column)
    await configure({ max_versions: 1 })
    await put('two')
    expect([await live(), await history(), await isStored(version)]).toEqual(['two', [], false])
  })
})
