import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { IN_FILES, startTestServer, type TestServer } from '../support/server.ts'

/** What the database keeps right by itself, whichever SQL changes the rows. */

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer(IN_FILES)
})
beforeEach(async () => {
  await server.admin`delete from storage.removals`
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})
afterAll(() => server.close())

describe('`public` and `policy` of a bucket', () => {
  it.each([
    // columns of the insert, what the row then says
    [{}, 'private', false],
    [{ public: true }, 'public', true],
    [{ public: false }, 'private', false],
    [{ public: null }, 'private', false],
    [{ policy: 'public' }, 'public', true],
    [{ policy: 'authenticated' }, 'authenticated', false],
    [{ policy: 'private', public: true }, 'private', false],
    [{ policy: 'public', public: false }, 'public', true],
  ])('agree after an insert of %j', async (columns, policy, isPublic) => {
    const id = randomUUID()
    const row = { id, name: id, ...columns } as Record<string, string>
    await server.admin`insert into storage.buckets ${server.admin(row)}`
    expect(await settings(id)).toEqual({ policy, public: isPublic })
  })

  it.each([
    // before, the update, after
    ['private', 'public = true', 'public', true],
    ['private', 'public = null', 'private', false],
    ['authenticated', 'public = true', 'public', true],
    ['authenticated', 'public = false', 'authenticated', false],
    ['authenticated', 'public = null', 'authenticated', false],
    ['public', 'public = false', 'private', false],
    ['public', 'public = null', 'private', false],
    ['public', 'public = true', 'public', true],
    ['public', "policy = 'authenticated'", 'authenticated', false],
    ['private', "policy = 'public'", 'public', true],
    ['public', "policy = 'private'", 'private', false],
    ['public', "policy = 'authenticated', public = true", 'authenticated', false],
    ['authenticated', "policy = 'public', public = false", 'public', true],
    ['authenticated', 'policy = null', 'private', false],
    ['public', 'policy = null', 'public', true],
    ['authenticated', 'file_size_limit = 5', 'authenticated', false],
    ['public', 'file_size_limit = 5', 'public', true],
  ])('agree when a %s bucket is updated with %s', async (before, change, policy, isPublic) => {
    await server.admin`update storage.buckets set policy = ${before} where id = ${bucket}`
    await server.admin.unsafe(`update storage.buckets set ${change} where id = '${bucket}'`)
    expect(await settings(bucket)).toEqual({ policy, public: isPublic })
  })

  it('agree after an upsert, as Supabase’s seed files have it', async () => {
    for (const isPublic of [true, false]) {
      await server.admin`
        insert into storage.buckets (id, name, public) values (${bucket}, ${bucket}, ${isPublic})
        on conflict (id) do update set public = excluded.public`
      expect(await settings(bucket)).toEqual({ policy: isPublic ? 'public' : 'private', public: isPublic })
    }
  })

  it.each(["'secret'", "''"])('are kept when the policy is set to %s', async (policy) => {
    const change = server.admin.unsafe(`update storage.buckets set policy = ${policy} where id = '${bucket}'`)
    await expect(change).rejects.toMatchObject({ code: '23514' })
    expect(await settings(bucket)).toEqual({ policy: 'private', public: false })
  })
})

describe('a bucket’s name', () => {
  it('has at most 100 characters in SQL too', async () => {
    const insert = (name: string) =>
      server.admin`insert into storage.buckets (id, name) values (${randomUUID()}, ${name})`
    await insert('ü'.repeat(100))
    await expect(insert('ü'.repeat(101))).rejects.toThrow('more than 100 characters')
    const rename = server.admin`update storage.buckets set name = ${'n'.repeat(101)} where id = ${bucket}`
    await expect(rename).rejects.toThrow('more than 100 characters')
    expect(await server.admin`select id from storage.buckets where length(name) > 100`).toEqual([])
  })
})

describe('`updated_at` of an object', () => {
  it('is set by every update, whatever the update says, and `created_at` is left alone', async () => {
    await upload('a')
    await server.admin`update storage.objects set created_at = '2001-01-01', updated_at = '2002-02-02'`
    const [row] = await server.admin`
      select created_at = '2001-01-01' as kept, updated_at > now() - interval '1 hour' as touched
      from storage.objects where bucket_id = ${bucket}`
    expect(row).toEqual({ kept: true, touched: true })
  })

  it('changes with an overwrite and a move, and not with a read', async () => {
    await upload('a')
    const first = await updatedAt()
    await server.request('GET', `/object/${bucket}/a`)
    await server.request('HEAD', `/object/${bucket}/a`)
    expect(await updatedAt()).toBe(first)
    await server.request('PUT', `/object/${bucket}/a`, { body: 'b' })
    const second = await updatedAt()
    expect(second > first).toBe(true)
    await server.request('POST', '/object/move', {
      body: { bucketId: bucket, sourceKey: 'a', destinationKey: 'b' },
    })
    expect((await updatedAt()) > second).toBe(true)
  })
})

describe('bytes that SQL makes superfluous', () => {
  it('are put on the list of removals when their row is deleted', async () => {
    const version = await upload('a')
    await server.admin`delete from storage.objects where bucket_id = ${bucket}`
    expect(await removals()).toEqual([version])
  })

  it('are put there when the row gets another version, or none', async () => {
    const [a, b] = [await upload('a'), await upload('b')]
    await server.admin`update storage.objects set version = ${randomUUID()} where version = ${a}`
    await server.admin`update storage.objects set version = null where version = ${b}`
    expect(await removals()).toEqual([a, b].sort())
  })

  it('are left when the row changes in any other way', async () => {
    const version = await upload('a')
    await server.createBucket(`${bucket}-2`)
    await server.admin`
      update storage.objects set name = 'z', bucket_id = ${`${bucket}-2`}, user_metadata = null, owner_id = 'x', version = version
      where version = ${version}`
    expect(await removals()).toEqual([])
    expect(await (await server.request('GET', `/object/${bucket}-2/z`)).text()).toBe('')
  })

  it('are left as long as another row names them', async () => {
    const version = await upload('a')
    await server.admin`
      insert into storage.objects (bucket_id, name, version)
      select bucket_id, 'b', version from storage.objects where version = ${version}`
    await server.admin`delete from storage.objects where name = 'a' and version = ${version}`
    expect(await removals()).toEqual([])
    await server.admin`update storage.objects set version = 'none' where version = ${version}`
    expect(await removals()).toEqual([version])
  })

  it('are put there once when all rows that name them go in one statement', async () => {
    const version = await upload('a')
    await server.admin`
      insert into storage.objects (bucket_id, name, version) values
        (${bucket}, 'b', ${version}), (${bucket}, 'c', ${version})`
    await server.admin`delete from storage.objects where bucket_id = ${bucket}`
    expect(await removals()).toEqual([version])
  })

  it('go by what each is, when one statement deletes all kinds of rows', async () => {
    const [file, shared, moved] = [await upload('file'), await upload('shared'), await upload('moved')]
    await server.createBucket(`${bucket}-2`)
    await server.admin`update storage.objects set bucket_id = ${`${bucket}-2`} where version = ${moved}`
    const inside = [randomUUID(), randomUUID(), randomUUID()] as const
    const [small, both, kept] = inside
    await server.admin`insert into storage.inline_bytes (version, bytes) select v, '' from unnest(${inside}::uuid[]) v`
    await server.admin`
      insert into storage.objects (bucket_id, name, version, bytes_bucket) values
        (${bucket}, 'small', ${small}, storage.inline_bucket()), (${bucket}, 'both', ${both}, storage.inline_bucket()),
        (${bucket}, 'both again', ${both}, null), (${bucket}, 'kept', ${kept}, storage.inline_bucket()),
        (${`${bucket}-2`}, 'kept', ${kept}, storage.inline_bucket()), (${`${bucket}-2`}, 'shared', ${shared}, null),
        (${bucket}, 'none', null, null), (${bucket}, 'other', 'v1', null)`
    const [copied] = await server.admin`
      insert into storage.objects (bucket_id, name, version) values (${bucket}, 'copied', ${file}) returning bytes_bucket`
    expect(copied?.bytes_bucket).toBe(null)
    const hashed = [file, shared, small, kept]
    await server.admin`
      insert into storage.version_parts (version, parts) select v, '[]' from unnest(${hashed}::uuid[]) v`
    await server.admin`update storage.objects set checksum = null where bucket_id = ${bucket}`
    await server.admin`delete from storage.objects where bucket_id = ${bucket} or name = 'moved'`
    const left = (rows: { version: string }[]) => rows.map(({ version }) => version).sort()
    expect(left(await server.admin`select version from storage.inline_bytes`)).toEqual([kept])
    const parts = server.admin<{ version: string }[]>`select version from storage.version_parts`
    expect(left(await parts)).toEqual([kept, shared].sort())
    const uid = await bucketUid(bucket)
    const listed = await server.admin<{ version: string }[]>`
      select version from storage.removals where bucket_uid = ${uid}`
    expect(left(listed)).toEqual([file, moved].sort())
    expect(await removals()).toEqual([file, moved].sort())
    await server.admin`delete from storage.objects where bucket_id = ${`${bucket}-2`}`
    await server.admin`delete from storage.removals`
  })

  it('stay when the statement is rolled back', async () => {
    await upload('a')
    await server.admin
      .begin(async (sql) => {
        await sql`delete from storage.objects where bucket_id = ${bucket}`
        throw new Error('no')
      })
      .catch(() => {})
    expect(await removals()).toEqual([])
  })

  it('are found under the bucket they were uploaded to, wherever the row went', async () => {
    const version = await upload('a')
    expect(await removals()).toEqual([])
    const uid = await bucketUid(bucket)
    await server.createBucket(`${bucket}-2`)
    await server.admin`update storage.objects set bucket_id = ${`${bucket}-2`} where version = ${version}`
    await server.admin`delete from storage.objects where version = ${version}`
    expect(await server.admin`select bucket_uid from storage.removals where version = ${version}`).toEqual([
      { bucket_uid: uid },
    ])
  })

  it.each(['v1', '', '../etc/passwd', 'DEADBEEF-0000-4000-8000-000000000000'])(
    'are none for a version such as %j',
    async (version) => {
      await server.admin`insert into storage.objects (bucket_id, name, version) values (${bucket}, 'x', ${version})`
      await server.admin`delete from storage.objects where bucket_id = ${bucket}`
      expect(await removals()).toEqual([])
    },
  )

  it('are listed too when a signed-in user deletes with SQL what the policies let them', async () => {
    const version = await upload('a')
    await server.admin`update storage.buckets set policy = 'authenticated' where id = ${bucket}`
    await server.admin`update storage.objects set owner_id = 'me' where version = ${version}`
    await server.admin.begin(async (sql) => {
      await sql`select set_config('request.jwt.claims', '{"sub": "me"}', true)`
      await sql`set local role authenticated`
      expect(await sql`delete from storage.objects returning name`).toHaveLength(1)
    })
    expect(await removals()).toEqual([version])
  })
})

async function settings(id: string) {
  const [row] = await server.admin`select policy, public from storage.buckets where id = ${id}`
  return row
}

/** Uploads an empty object and returns its version. */
async function upload(name: string): Promise<string> {
  expect((await server.request('POST', `/object/${bucket}/${name}`, { body: '' })).status).toBe(201)
  const [row] = await server.admin<{ version: string }[]>`
    select version from storage.objects where bucket_id = ${bucket} and name = ${name}`
  return row?.version ?? ''
}

async function updatedAt(): Promise<string> {
  const [row] = await server.admin<{ at: string }[]>`
    select updated_at::text as at from storage.objects where bucket_id = ${bucket}`
  return row?.at ?? ''
}

async function bucketUid(id: string): Promise<string> {
  const [row] = await server.admin<{ uid: string }[]>`select uid from storage.buckets where id = ${id}`
  return row?.uid ?? ''
}

/** The versions on the list since it was last asked. */
async function removals(): Promise<string[]> {
  const rows = await server.admin<{ version: string }[]>`delete from storage.removals returning version`
  return rows.map((row) => row.version).sort()
}
