import { createHash, randomBytes, randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { MemoryBackend } from '../../../src/backend/memory-backend.ts'
import { Scrub } from '../../../src/jobs/scrub.ts'
import { INLINE_BUCKET } from '../../../src/model/location.ts'
import { InlineBackend } from '../../../src/storage/inline/inline-backend.ts'
import { cleanUp, isThere, repairsOf, uidOf } from '../../support/cleanup.ts'
import { dropPolicies, withPolicies } from '../../support/policies.ts'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { pathOf } from '../../support/stored-files.ts'
import { expectNoDrift } from '../../support/traces.ts'

const USER = '4f9c1d7e-0000-4000-8000-000000000001'

/** As STORAGE_INLINE_SIZE is where nothing is said. */
const INLINE_SIZE = 16_384

let server: TestServer
let other: Served
let token: string
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
  other = await server.beside({ STORAGE_INLINE_SIZE: '0' })
  token = await server.token(USER)
})
afterAll(async () => {
  await other.close()
  await server.close()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { policy: 'authenticated' })
})

type Init = NonNullable<Parameters<TestServer['request']>[2]>

async function send(method: string, path: string, init: Init = {}): Promise<[number, string]> {
  const response = await server.request(method, `/storage/v1/object/${path}`, { token, ...init })
  const text = await response.text()
  return [response.status, response.ok ? text : JSON.parse(text).code]
}

const put = async (
  name: string,
  body: unknown = `the bytes of ${name}`,
  headers: Record<string, string> = {},
) => (await send('POST', `${bucket}/${name}`, { body: body as string, headers }))[0]
const get = (name: string, headers: Record<string, string> = {}) =>
  send('GET', `${bucket}/${name}`, { headers })
const upserting = { 'x-upsert': 'true' }

interface Stored {
  version: string
  isInline: boolean
  /** What the database has of the version. */
  bytes: Buffer | null
}

async function stored(name: string): Promise<Stored> {
  const [row] = await server.admin<Stored[]>`
    select o.version, o.bytes_bucket = ${INLINE_BUCKET} as "isInline", i.bytes
    from storage.objects o left join storage.inline_bytes i on i.version::text = o.version
    where o.bucket_id = ${bucket} and o.name = ${name}`
  if (!row) throw new Error(`no row of ${name}`)
  return row
}

/** The versions in the database that no row names. */
async function orphans(): Promise<string[]> {
  const rows = await server.admin<{ version: string }[]>`
    select version::text from storage.inline_bytes except select version from storage.objects`
  return rows.map(({ version }) => version)
}

async function settle(): Promise<void> {
  await expectNoDrift(server)
  expect(await orphans()).toEqual([])
}

/** Runs SQL of a user's, and takes it away again. */
async function withTrigger(body: string, when: string, work: () => Promise<void>): Promise<void> {
  const isDeferred = when.startsWith('after')
  await server.admin.unsafe(`
    create function public.users_rule() returns trigger language plpgsql as $$ ${body} $$;
    create ${isDeferred ? 'constraint ' : ''}trigger users_rule ${when} on storage.objects
      ${isDeferred ? 'deferrable initially deferred' : ''} for each row execute function public.users_rule()`)
  await work().finally(() => server.admin.unsafe('drop function public.users_rule() cascade'))
}

describe('bytes up to STORAGE_INLINE_SIZE', () => {
  it.each([0, 1, INLINE_SIZE])('are in the database, when they are %i', async (size) => {
    const bytes = randomBytes(size)
    expect(await put('small', bytes)).toBe(201)
    expect(await stored('small')).toMatchObject({ isInline: true, bytes })
    await settle()
  })

  it('are a file with one more, when nobody knows how many come, and when there shall be none', async () => {
    await put('large', randomBytes(INLINE_SIZE + 1))
    await put('unknown', new Blob(['of unknown length']).stream())
    await other.request('POST', `/storage/v1/object/${bucket}/never`, { body: 'never' })
    for (const name of ['large', 'unknown', 'never']) {
      expect(await stored(name)).toMatchObject({ isInline: false, bytes: null })
      expect(await isThere(await pathOf(server, name))).toBe(true)
    }
    await settle()
  })

  it('are so in forms, whose own length says less', async () => {
    const form = (size: number) => {
      const data = new FormData()
      data.append('cacheControl', '60')
      data.append('', new Blob([randomBytes(size)]), 'file')
      return data
    }
    expect(await put('in-form', form(INLINE_SIZE))).toBe(201)
    expect(await put('too-large-form', form(INLINE_SIZE + 1))).toBe(201)
    expect(await stored('in-form')).toMatchObject({ isInline: true })
    expect(await stored('too-large-form')).toMatchObject({ isInline: false })
    await settle()
  })

  it('are so by signed links, and under conditions', async () => {
    const [, signed] = await send('POST', `upload/sign/${bucket}/signed`)
    const { url } = JSON.parse(signed) as { url: string }
    const response = await server.request('PUT', `/storage/v1${url}`, { token: null, body: 'signed' })
    expect(response.ok).toBe(true)
    expect(await put('judged', 'judged', { 'if-none-match': '*' })).toBe(201)
    expect(await put('judged', 'anew', { ...upserting, 'if-match': '"another"' })).toBe(412)
    for (const name of ['signed', 'judged']) {
      expect(await stored(name)).toMatchObject({ isInline: true, bytes: Buffer.from(name) })
    }
    await settle()
  })

  it('replace a file, and are replaced by one', async () => {
    for (const body of [
      'small',
      'x'.repeat(INLINE_SIZE + 1),
      'small again',
      'another',
      'y'.repeat(300_000),
    ]) {
      expect(await put('both', body, upserting)).toBe(201)
      expect(await get('both')).toEqual([200, body])
      await settle()
    }
  })

  it('are read whole, in part, or not, from the database and from memory', async () => {
    const bytes = randomBytes(5000).toString('hex')
    await put('read', bytes)
    for (let time = 0; time < 4; time++) {
      expect(await get('read')).toEqual([200, bytes])
      expect(await get('read', { range: 'bytes=10-19' })).toEqual([206, bytes.slice(10, 20)])
      expect(await send('HEAD', `${bucket}/read`)).toEqual([200, ''])
      expect(await get('read', { 'if-none-match': '*' }).catch(() => [304])).toEqual([304])
    }
    await put('read', 'others', upserting)
    expect(await get('read')).toEqual([200, 'others'])
    // Another server has none of it in memory, and puts none into the database.
    const response = await other.request('GET', `/storage/v1/object/${bucket}/read`)
    expect(await response.text()).toBe('others')
  })

  it('go with their object: deleted one by one, together, with the bucket, by plain SQL', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) await put(name)
    expect((await send('DELETE', `${bucket}/a`))[0]).toBeLessThan(300)
    await settle()
    await send('DELETE', bucket, { body: { prefixes: ['b', 'c'] } })
    await settle()
    await server.admin`set storage.allow_delete_query = 'true'`
    await server.admin`update storage.objects set version = 'none' where bucket_id = ${bucket} and name = 'd'`
    expect(await orphans()).toEqual([])
    expect(await get('d')).toEqual([404, 'NoSuchKey'])
    await server.admin`delete from storage.objects where bucket_id = ${bucket} and name in ('d', 'e')`
    await settle()
    expect((await server.request('POST', `/storage/v1/bucket/${bucket}/empty`)).ok).toBe(true)
    await settle()
    expect(
      await server.admin`select from storage.inline_bytes i join storage.objects o
      on o.version = i.version::text where o.bucket_id = ${bucket}`,
    ).toHaveLength(0)
  })

  it('stay as long as a copy of the row names them, made with SQL', async () => {
    await put('first')
    const { version, bytes } = await stored('first')
    await server.admin`
      insert into storage.objects (bucket_id, name, version, bytes_bucket, metadata, checksum)
      select bucket_id, 'second', version, bytes_bucket, metadata, checksum from storage.objects
      where bucket_id = ${bucket} and name = 'first'`
    await send('DELETE', `${bucket}/first`)
    expect(await stored('second')).toMatchObject({ version, bytes })
    expect((await server.request('DELETE', `/storage/v1/object/${bucket}/second`)).ok).toBe(true)
    await settle()
  })

  it('stay where they are when their object moves to another bucket, and are its own', async () => {
    const elsewhere = `${bucket}-2`
    await server.createBucket(elsewhere, { policy: 'authenticated' })
    await put('here', 'moved')
    const body = {
      bucketId: bucket,
      sourceKey: 'here',
      destinationBucket: elsewhere,
      destinationKey: 'there',
    }
    expect((await send('POST', 'move', { body }))[0]).toBe(200)
    expect(await send('GET', `${elsewhere}/there`)).toEqual([200, 'moved'])
    await settle()
  })

  it('are copied in the database, and then belong to each', async () => {
    await put('source', 'copied')
    await put('target', 'x'.repeat(20_000))
    const copy = (destinationKey: string) =>
      send('POST', 'copy', {
        body: { bucketId: bucket, sourceKey: 'source', destinationKey },
        headers: upserting,
      })
    for (const target of ['fresh', 'target']) {
      expect((await copy(target))[0]).toBeLessThan(300)
      expect(await stored(target)).toMatchObject({ isInline: true, bytes: Buffer.from('copied') })
    }
    expect((await copy('source'))[0]).toBeLessThan(300)
    expect(await get('source')).toEqual([200, 'copied'])
    await send('DELETE', `${bucket}/source`)
    for (const target of ['fresh', 'target']) expect(await get(target)).toEqual([200, 'copied'])
    expect((await copy('none'))[0]).toBe(404)
    await settle()
  })

  it('are copied to where the setting says by now, also over themselves', async () => {
    await put('source', 'copied')
    for (const destinationKey of ['fresh', 'source']) {
      const body = { bucketId: bucket, sourceKey: 'source', destinationKey }
      const copied = await other.request('POST', '/storage/v1/object/copy', { body, headers: upserting })
      expect(copied.ok).toBe(true)
      expect(await stored(destinationKey)).toMatchObject({ isInline: false, bytes: null })
      expect(await get(destinationKey)).toEqual([200, 'copied'])
    }
    await settle()
  })
})

describe('who may not write', () => {
  it('leaves no bytes, nor does who meets an object', async () => {
    await server.createBucket(`${bucket}-private`)
    expect(await send('POST', `${bucket}-private/a`, { body: 'denied' })).toEqual([403, 'AccessDenied'])
    expect(await send('POST', `${bucket}-none/a`, { body: 'nowhere' })).toEqual([404, 'NoSuchBucket'])
    await put('taken')
    const before = await stored('taken')
    expect(await send('POST', `${bucket}/taken`, { body: 'again' })).toEqual([409, 'KeyAlreadyExists'])
    const stranger = await server.token(randomUUID())
    const asStranger = { token: stranger, body: 'mine now', headers: upserting }
    expect(await send('POST', `${bucket}/taken`, asStranger)).toEqual([403, 'AccessDenied'])
    expect(await stored('taken')).toEqual(before)
    await settle()
  })

  it('needs a policy to insert alone, and others to replace, as in any other way', async () => {
    await server.createBucket(`${bucket}-p`)
    const insertOnly = `create policy "only in" on storage.objects for insert to authenticated with check (true)`
    await withPolicies(server.admin, insertOnly, async () => {
      expect((await send('POST', `${bucket}-p/a`, { body: 'a' }))[0]).toBe(201)
      expect((await send('POST', `${bucket}-p/b`, { body: 'b', headers: upserting }))[0]).toBe(403)
    })
    await dropPolicies(server.admin)
    await settle()
  })

  it('keeps the owner that an object has, when who replaces it is nobody', async () => {
    await put('owned')
    const response = await server.request('PUT', `/storage/v1/object/${bucket}/owned`, {
      body: 'by the service',
    })
    expect(response.ok).toBe(true)
    const [row] = await server.admin`select owner_id from storage.objects where bucket_id = ${bucket}`
    expect(row?.owner_id).toBe(USER)
  })
})

describe('settings of a bucket that another has changed', () => {
  const change = (set: string) =>
    server.admin.unsafe(`update storage.buckets set ${set} where id = '${bucket}'`)
  beforeEach(async () => {
    await put('known') // from now on the server remembers the bucket
  })

  it('refuse what they do not allow any more, and nothing is stored', async () => {
    await change('file_size_limit = 10')
    expect(await send('POST', `${bucket}/a`, { body: 'more than ten bytes' })).toEqual([
      413,
      'EntityTooLarge',
    ])
    expect(await put('b', 'ten bytes.')).toBe(201)
    await change("file_size_limit = null, allowed_mime_types = '{image/png}'")
    const headers = { 'content-type': 'text/plain' }
    expect(await send('POST', `${bucket}/a`, { body: 'text', headers })).toEqual([415, 'InvalidMimeType'])
    expect(await put('c', 'no image', { 'content-type': 'image/png' })).toBe(201)
    await settle()
  })

  it('allow at once what they have refused', async () => {
    await change('file_size_limit = 10')
    expect(await put('a', 'more than ten bytes')).toBe(413)
    await change('file_size_limit = 20')
    expect(await put('a', 'more than ten bytes')).toBe(201)
    await change("allowed_mime_types = '{image/png}'")
    expect(await put('b', 'text', { 'content-type': 'text/plain' })).toBe(415)
    await change("allowed_mime_types = '{text/*}'")
    expect(await put('b', 'text', { 'content-type': 'text/plain' })).toBe(201)
  })

  it.each([
    ['a limit past 2^53', 'file_size_limit = 9007199254740993'],
    ['the largest limit', 'file_size_limit = 9223372036854775807'],
    ['no type among its types', "allowed_mime_types = array[null, 'text/plain']"],
    ['types that are counted from elsewhere', "allowed_mime_types = '[2:3]={image/png,text/plain}'"],
    ['types in a table', "allowed_mime_types = '{{image/png,text/plain},{a/b,c/d}}'"],
    ['types with what arrays are written with', `allowed_mime_types = '{"a\\\\b\\"{,}","text/plain"}'`],
  ])('that JavaScript does not have let in as any others: %s', async (_, set) => {
    await change(set)
    const text = { 'content-type': 'text/plain' }
    for (const name of ['a', 'b']) expect(await put(name, 'text', text)).toBe(201)
    expect(await stored('b')).toMatchObject({ isInline: true })
    if (set.startsWith('allowed')) expect(await put('c', 'gif', { 'content-type': 'image/gif' })).toBe(415)
    expect(await put('large', 'x'.repeat(INLINE_SIZE + 1), text)).toBe(201)
    await change('file_size_limit = 3, allowed_mime_types = null')
    expect(await put('d', 'text', text)).toBe(413)
    await settle()
  })

  it('say that there is none, and that there is another', async () => {
    await send('DELETE', `${bucket}/known`)
    await server.admin`set storage.allow_delete_query = 'true'`
    await server.admin`delete from storage.buckets where id = ${bucket}`
    expect(await send('POST', `${bucket}/a`, { body: 'a' })).toEqual([404, 'NoSuchBucket'])
    await server.createBucket(bucket, { policy: 'authenticated' })
    expect(await put('a', 'a')).toBe(201)
    await settle()
  })

  it('a link for the bucket of before does not reach the one of now', async () => {
    const [, signed] = await send('POST', `upload/sign/${bucket}/signed`)
    await send('DELETE', `${bucket}/known`)
    await server.admin`set storage.allow_delete_query = 'true'`
    await server.admin`delete from storage.buckets where id = ${bucket}`
    await server.createBucket(bucket, { policy: 'authenticated' })
    const { url } = JSON.parse(signed) as { url: string }
    const response = await server.request('PUT', `/storage/v1${url}`, { token: null, body: 'late' })
    expect(response.status).toBeGreaterThanOrEqual(400)
    await settle()
  })
})

describe("a user's trigger", () => {
  it('that raises refuses the upload', async () => {
    await withTrigger(`begin raise exception 'not today'; end`, 'before insert', async () => {
      expect(await send('POST', `${bucket}/a`, { body: 'a' })).toEqual([400, 'DatabaseError'])
    })
    await settle()
  })

  it.each(['POST', 'PUT'])('that leaves the row out leaves no bytes (%s)', async (method) => {
    await withTrigger('begin return null; end', 'before insert', async () => {
      for (const headers of [upserting, {}]) {
        const init = { token, body: 'a', headers }
        const response = await server.request(method, `/storage/v1/object/${bucket}/a`, init)
        expect([response.status, await response.json()]).toMatchObject([
          403,
          { message: 'A trigger of the database has left it out; nothing is stored' },
        ])
      }
    })
    await settle()
  })

  it('that changes the row is heeded', async () => {
    const body = `begin new.user_metadata := '{"seen": true}'; return new; end`
    await withTrigger(body, 'before insert', async () => expect(await put('a')).toBe(201))
    const [row] = await server.admin`select user_metadata from storage.objects where bucket_id = ${bucket}`
    expect(row?.user_metadata).toEqual({ seen: true })
    expect(await get('a')).toEqual([200, 'the bytes of a'])
  })

  it('that waits for the end of the transaction runs as the caller, and can still undo it', async () => {
    const body = `begin raise exception '% %', current_user, auth.uid(); end`
    await withTrigger(body, 'after insert or update', async () => {
      for (const headers of [{}, upserting, { 'if-none-match': '*' }]) {
        const response = await server.request('POST', `/storage/v1/object/${bucket}/a`, {
          token,
          body: 'a',
          headers,
        })
        expect([response.status, await response.json()]).toMatchObject([
          400,
          { message: `authenticated ${USER}` },
        ])
      }
    })
    await settle()
  })

  it('that waits for the end of a deletion does so, too: of one, of many, under a condition', async () => {
    for (const name of ['a', 'b']) await put(name)
    const body = `begin raise exception '% %', current_user, auth.uid(); end`
    await withTrigger(body, 'after delete', async () => {
      const deletions: [string, Init][] = [
        [`${bucket}/a`, {}],
        [`${bucket}/a`, { headers: { 'if-match': '*' } }],
        [bucket, { body: { prefixes: ['a', 'b', 'absent'] } }],
      ]
      for (const [path, init] of deletions) {
        const response = await server.request('DELETE', `/storage/v1/object/${path}`, { token, ...init })
        expect([response.status, await response.json()]).toMatchObject([
          400,
          { message: `authenticated ${USER}` },
        ])
      }
    })
    for (const name of ['a', 'b']) expect(await get(name)).toEqual([200, `the bytes of ${name}`])
    await settle()
  })

  it('that keeps one of many keeps its bytes, and what the caller may not delete stays as well', async () => {
    for (const name of ['a', 'b', 'kept']) await put(name)
    const body = `begin return case when old.name <> 'kept' then old end; end`
    const others = await server.request('POST', `/storage/v1/object/${bucket}/others`, { body: 'others' })
    expect(others.ok).toBe(true)
    await withTrigger(body, 'before delete', async () => {
      const prefixes = ['a', 'others', 'kept', 'b', 'a']
      const [status, text] = await send('DELETE', bucket, { body: { prefixes } })
      const names = (JSON.parse(text) as { name: string }[]).map(({ name }) => name)
      expect([status, names.toSorted()]).toEqual([200, ['a', 'b']])
      for (const name of ['kept', 'others']) {
        expect(await send('DELETE', `${bucket}/${name}`)).toEqual([403, 'AccessDenied'])
      }
    })
    expect(await get('kept')).toEqual([200, 'the bytes of kept'])
    expect(await get('others')).toEqual([200, 'others'])
    await settle()
  })
})

describe('what is damaged by hand', () => {
  const scrub = () => {
    const backend = new InlineBackend(new MemoryBackend(1), server.database)
    const job = new Scrub({ database: server.database, backend, logger: pino({ level: 'silent' }) })
    return job.run({ bucket, rate: Number.POSITIVE_INFINITY, signal: new AbortController().signal })
  }

  it('bytes that no row names are removed by the cleanup', async () => {
    await cleanUp(server)
    const version = randomUUID()
    await server.admin`insert into storage.inline_bytes (version, bytes) values (${version}, 'orphan')`
    await put('kept')
    expect(repairsOf(await cleanUp(server, { settings: { graceMs: 3_600_000 } }))).toEqual({})
    expect(repairsOf(await cleanUp(server, { dryRun: true }))).toEqual({ unnamedBytes: 1 })
    expect(repairsOf(await cleanUp(server))).toEqual({ unnamedBytes: 1 })
    expect(await get('kept')).toEqual([200, 'the bytes of kept'])
    await settle()
  })

  it('an object without its bytes is 404, marked by the cleanup, and deleted by a later one', async () => {
    await put('lost')
    await put('kept')
    const { version, bytes } = await stored('lost')
    await server.admin`delete from storage.inline_bytes where version = ${version}`
    expect((await get('lost'))[0]).toBe(404)
    expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({ missing: 1 })
    await server.admin`insert into storage.inline_bytes (version, bytes) values (${version}, ${bytes})`
    expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({ released: 1 })
    await server.admin`delete from storage.inline_bytes where version = ${version}`
    expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({ missing: 1 })
    expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({ deleted: 1 })
    expect(await get('kept')).toEqual([200, 'the bytes of kept'])
    await settle()
  })

  it('the scrub finds bytes that are others, or gone, and nobody is sent them', async () => {
    await put('damaged')
    await put('lost')
    await put('whole')
    const { version, bytes } = await stored('damaged')
    await server.admin`update storage.inline_bytes set bytes = 'other bytes!!!!!!!!!' where version = ${version}`
    await server.admin`delete from storage.inline_bytes where version = ${(await stored('lost')).version}`
    expect(await scrub()).toMatchObject({ checked: 3, corrupted: 1, missing: 1 })
    expect((await get('damaged'))[0]).toBeGreaterThanOrEqual(400)
    expect(await get('whole')).toEqual([200, 'the bytes of whole'])
    await server.admin`update storage.inline_bytes set bytes = ${bytes} where version = ${version}`
    expect(await scrub()).toMatchObject({ corrupted: 0 })
    expect(await get('damaged')).toEqual([200, 'the bytes of damaged'])
    await server.admin`update storage.objects set version = null where bucket_id = ${bucket} and name = 'lost'`
  })

  it('a server that does not know of bytes in the database cannot mark their objects', async () => {
    await put('there')
    const mark = (name: string) => server.admin`
      update storage.objects set quarantine_reason = 'missing', quarantined_at = now()
      where bucket_id = ${bucket} and name = ${name} returning id`
    expect(await mark('there')).toHaveLength(0)
    await server.admin`
      insert into storage.objects (bucket_id, name, version, bytes_bucket)
      values (${bucket}, 'no version', 'none', ${INLINE_BUCKET})`
    expect(await mark('no version')).toHaveLength(1)
    expect((await get('no version'))[0]).toBe(404)
    const context = ['service_role', '', '{}', '', '', '', '', '{}', 'false'].join('\x1f')
    const [row] =
      await server.admin`select * from storage.read_object('policy', ${bucket}, 'there', ${context})`
    expect(row).toMatchObject({ bytes_bucket: INLINE_BUCKET })
    expect(row).not.toHaveProperty('bytes')
    await server.admin`set storage.allow_delete_query = 'true'`
    await server.admin`delete from storage.objects where bucket_id = ${bucket} and name = 'no version'`
  })

  it('all of it goes when the objects are truncated', async () => {
    await put('inside')
    await put('outside', 'x'.repeat(20_000))
    const uid = await uidOf(server, bucket)
    await server.admin`truncate storage.objects`
    expect(await server.admin`select from storage.inline_bytes`).toHaveLength(0)
    const removals = await server.admin`select from storage.removals where bucket_uid = ${uid}`
    expect(removals).toHaveLength(1)
    expect(await server.admin`select from storage.removals where bucket_uid = ${INLINE_BUCKET}`).toHaveLength(
      0,
    )
    await cleanUp(server)
    await settle()
  })
})

it('a checksum is that of the bytes', async () => {
  const bytes = randomBytes(1000)
  await put('sum', bytes)
  const [row] = await server.admin`select checksum from storage.objects where bucket_id = ${bucket}`
  expect(row?.checksum).toBe(createHash('sha256').update(bytes).digest('hex'))
})
