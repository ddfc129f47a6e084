import { randomUUID } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { dropPolicies } from '../support/policies.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

/** The five policies of wire §7.8, word for word as a Supabase user writes them. */

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterEach(async () => {
  await dropPolicies(server.admin)
  for (const { id } of await server.admin<{ id: string }[]>`select id from storage.buckets`) {
    await server.request('POST', `/storage/v1/bucket/${id}/empty`)
    await server.request('DELETE', `/storage/v1/bucket/${id}`)
  }
  expect(await server.storedFiles()).toEqual([])
})
afterAll(() => server.close())

describe('1. one folder per signed-in user', () => {
  const user = randomUUID()
  const other = randomUUID()

  async function setUp() {
    await server.createBucket('docs')
    await server.createBucket('other')
    await server.admin.unsafe(`
      create policy "own folder" on storage.objects for all to authenticated
        using      (bucket_id = 'docs' and (storage.foldername(name))[1] = (select auth.uid()::text))
        with check (bucket_id = 'docs' and (storage.foldername(name))[1] = (select auth.uid()::text));`)
    return server.token(user)
  }

  it('lets a user do everything in the folder of their id', async () => {
    const token = await setUp()
    const mine = `docs/${user}/deep/er`
    expect(await told('POST', `/object/${mine}/a.txt`, token, 'one')).toBe(201)
    expect(await told('PUT', `/object/${mine}/a.txt`, token, 'two')).toBe(200)
    expect(await told('GET', `/object/${mine}/a.txt`, token)).toBe(200)
    expect(await told('HEAD', `/object/${mine}/a.txt`, token)).toBe(200)
    expect(await told('POST', `/object/sign/${mine}/a.txt`, token, { expiresIn: 60 })).toBe(200)
    expect(await told('POST', `/object/upload/sign/${mine}/later.txt`, token)).toBe(200)
    const [from, to, third] = ['a', 'b', 'c'].map((file) => `${user}/deep/er/${file}.txt`)
    const move = { bucketId: 'docs', sourceKey: from, destinationKey: to }
    expect(await told('POST', '/object/move', token, move)).toBe(200)
    const copy = { bucketId: 'docs', sourceKey: to, destinationKey: third }
    expect(await told('POST', '/object/copy', token, copy)).toBe(200)
    expect(await listed('docs', `${user}/deep/er`, token)).toEqual(['b.txt', 'c.txt'])
    expect(await told('DELETE', `/object/${mine}/b.txt`, token)).toBe(204)
    expect(await told('DELETE', '/object/docs', token, { prefixes: [third] })).toBe(200)
    expect(await names('docs')).toEqual([])
  })

  it('refuses everything beside it', async () => {
    const token = await setUp()
    const theirs = `${other}/secret.txt`
    expect(await told('POST', `/object/docs/${theirs}`, server.keys.serviceKey, 'secret')).toBe(201)
    expect(await told('POST', `/object/docs/${user}/mine.txt`, token, 'mine')).toBe(201)

    expect(await told('GET', `/object/docs/${theirs}`, token)).toBe(404)
    expect(await told('HEAD', `/object/docs/${theirs}`, token)).toBe(404)
    expect(await told('GET', `/object/info/docs/${theirs}`, token)).toBe(404)
    expect(await told('POST', `/object/sign/docs/${theirs}`, token, { expiresIn: 60 })).toBe(404)
    expect(await told('PUT', `/object/docs/${theirs}`, token, 'mine now')).toBe(403)
    expect(await told('DELETE', `/object/docs/${theirs}`, token)).toBe(404)
    for (const name of ['top-level.txt', `${other}/new.txt`, `x${user}/new.txt`, `a/${user}/new.txt`]) {
      expect(await told('POST', `/object/docs/${name}`, token, 'x')).toBe(403)
      expect(await told('POST', `/object/upload/sign/docs/${name}`, token)).toBe(403)
      const there = { bucketId: 'docs', sourceKey: `${user}/mine.txt`, destinationKey: name }
      expect(await told('POST', '/object/move', token, there)).toBe(403)
      expect(await told('POST', '/object/copy', token, there)).toBe(403)
    }
    // The file named like the folder is not in it, nor is the same folder of another bucket.
    expect(await told('POST', `/object/docs/${user}`, token, 'x')).toBe(403)
    expect(await told('POST', `/object/other/${user}/a.txt`, token, 'x')).toBe(403)
    expect(await listed('docs', '', token)).toEqual([user])
    expect(await told('POST', `/object/docs/${user}/a.txt`, server.keys.anonKey, 'x')).toBe(403)
    expect(await names('docs')).toEqual([theirs, `${user}/mine.txt`].sort())
    expect(await names('other')).toEqual([])
  })

  it('answers 400 to a token whose subject is no UUID, since auth.uid() cannot read it', async () => {
    await setUp()
    const token = await server.token('auth0|1234')
    const upload = await server.request('POST', '/object/docs/auth0|1234/a.txt', { token, body: 'x' })
    expect(upload.status).toBe(400)
    expect(await upload.json()).toMatchObject({ code: 'InvalidParameter', statusCode: '400' })
    expect(await names('docs')).toEqual([])
    expect(await told('POST', '/object/docs/a.txt', server.keys.serviceKey, 'x')).toBe(201)
    expect(await told('GET', '/object/docs/a.txt', token)).toBe(400)
    expect(await told('POST', '/object/list/docs', token, { prefix: '' })).toBe(400)
    expect(await told('DELETE', '/object/docs/a.txt', token)).toBe(400)
    expect(await names('docs')).toEqual(['a.txt'])
  })
})

describe('2. small tagged images, judged before the bytes arrive', () => {
  const album = { 'x-metadata': Buffer.from('{"album":"summer"}').toString('base64') }
  const png = { 'content-type': 'image/png', ...album }

  async function setUp() {
    await server.createBucket('photos')
    await server.admin.unsafe(`
      create policy "tagged images" on storage.objects for insert to authenticated
        with check (bucket_id = 'photos'
          and metadata->>'mimetype' like 'image/%'
          and (metadata->>'contentLength')::bigint < 2000000
          and lower(storage.extension(name)) in ('png', 'jpg', 'webp')
          and user_metadata->>'album' is not null);`)
    return server.token(randomUUID())
  }

  it.each([
    ['small', 100],
    ['too large to be read at once', 1_900_000],
  ])('takes a %s image', async (_, size) => {
    const token = await setUp()
    const init = { token, headers: png, body: 'x'.repeat(size) }
    expect((await server.request('POST', '/object/photos/a/b.PNG', init)).status).toBe(201)
    expect(await names('photos')).toEqual(['a/b.PNG'])
  })

  /** An upload without a length: signed beforehand, or in chunks. */
  const unsized = async (token: string, name: string) => {
    const signed = await server.request('POST', `/object/upload/sign/photos/${name}`, { token, headers: png })
    const chunks = new ReadableStream({
      start: (controller) => {
        controller.enqueue(Buffer.from('x'))
        controller.close()
      },
    })
    const init = { token, headers: png, body: chunks }
    return { signed, chunked: await server.request('POST', `/object/photos/chunked-${name}`, init) }
  }

  it('refuses what tells no length: a signed URL, and chunks', async () => {
    const { signed, chunked } = await unsized(await setUp(), 'a.png')
    expect([signed.status, chunked.status]).toEqual([403, 403])
    expect(await names('photos')).toEqual([])
  })

  it('takes those where a missing length counts as none, and the bucket limits them', async () => {
    const token = await setUp()
    await server.admin`create policy "unsized images" on storage.objects for insert to authenticated
      with check (bucket_id = 'photos' and metadata->>'mimetype' like 'image/%'
        and coalesce((metadata->>'contentLength')::bigint, 0) < 2000000)`
    const limits = { allowed_mime_types: ['image/*'], file_size_limit: 5 }
    expect((await server.request('PATCH', '/bucket/photos', { body: limits })).status).toBe(200)

    const { signed, chunked } = await unsized(token, 'a.png')
    expect([signed.status, chunked.status]).toEqual([200, 201])
    const { url } = (await signed.json()) as { url: string }
    const send = (type: string, body: string) =>
      server.request('PUT', url, { token: null, headers: { 'content-type': type }, body })
    expect((await send('application/javascript', 'x')).status).toBe(415)
    expect((await send('image/png', 'too long')).status).toBe(413)
    expect((await send('image/png', 'right')).status).toBe(201)
  })

  it('takes an image from a form, with the album in a field', async () => {
    const token = await setUp()
    const form = new FormData()
    form.append('cacheControl', '3600')
    form.append('metadata', '{"album":"summer"}')
    form.append('', new Blob(['x'], { type: 'image/webp' }))
    const response = await fetch(`${server.url}/object/photos/b.webp`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      body: form,
    })
    expect(response.status).toBe(201)
  })

  it.each([
    ['another type', 'photos/b.png', { ...png, 'content-type': 'text/plain' }, 10],
    ['another extension', 'photos/b.gif', png, 10],
    ['no extension', 'photos/b', png, 10],
    ['no album', 'photos/b.png', { 'content-type': 'image/png' }, 10],
    ['metadata without the album', 'photos/b.png', { ...png, 'x-metadata': 'e30=' }, 10],
    ['exactly the size that is too much', 'photos/b.png', png, 2_000_000],
    ['another bucket', 'other/b.png', png, 10],
  ])('refuses %s', async (_, path, headers, size) => {
    const token = await setUp()
    await server.createBucket('other')
    const response = await server.request('POST', `/object/${path}`, {
      token,
      headers,
      body: 'x'.repeat(size),
    })
    expect([response.status, ((await response.json()) as { message: string }).message]).toEqual([
      403,
      'new row violates row-level security policy',
    ])
    expect([...(await names('photos')), ...(await names('other'))]).toEqual([])
    expect(await server.storedFiles()).toEqual([])
  })

  it('refuses a body without a declared length, since the policy cannot know its size', async () => {
    const token = await setUp()
    const body = new Blob(['x']).stream() as unknown as object
    const response = await server.request('POST', '/object/photos/b.png', { token, headers: png, body })
    expect(response.status).toBe(403)
    expect(await names('photos')).toEqual([])
  })

  it('answers a body that is too large before it has arrived', async () => {
    const token = await setUp()
    const headers = { ...png, authorization: `Bearer ${token}`, 'content-length': 3_000_000 }
    const upload = httpRequest(`${server.url}/object/photos/b.png`, { method: 'POST', headers })
    const answered = new Promise<number>((resolve, reject) => {
      upload.on('response', (response) => resolve(response.resume().statusCode ?? 0))
      upload.on('error', reject)
    })
    upload.write('only the first bytes')
    expect(await answered).toBe(403)
    upload.on('error', () => {}) // it is cut off in the middle
    upload.destroy()
    expect(await names('photos')).toEqual([])
    expect(await server.admin`select version from storage.uploads`).toEqual([])
  })
})

describe('3. creators manage what they uploaded', () => {
  it.each([
    ['a UUID', randomUUID()],
    ['any text', 'auth0|1234'],
  ])('works for a subject that is %s', async (_, subject) => {
    await server.createBucket('drafts')
    await server.admin.unsafe(`
      create policy "creator reads"   on storage.objects for select to authenticated
        using (owner_id = (select auth.jwt()->>'sub'));
      create policy "creator removes" on storage.objects for delete to authenticated
        using (owner_id = (select auth.jwt()->>'sub'));
      create policy "anyone signed in uploads" on storage.objects for insert to authenticated
        with check (true);`)
    const [token, stranger] = [await server.token(subject), await server.token('a-stranger')]
    expect(await told('POST', '/object/drafts/a.txt', token, 'mine')).toBe(201)
    expect(await told('POST', '/object/drafts/b.txt', stranger, 'theirs')).toBe(201)

    expect(await told('GET', '/object/drafts/a.txt', token)).toBe(200)
    expect(await told('GET', '/object/drafts/b.txt', token)).toBe(404)
    expect(await listed('drafts', '', token)).toEqual(['a.txt'])
    expect(await told('DELETE', '/object/drafts/b.txt', token)).toBe(404)
    const both = { prefixes: ['a.txt', 'b.txt'] }
    expect(await told('DELETE', '/object/drafts', server.keys.anonKey, both)).toBe(200)
    expect(await names('drafts')).toEqual(['a.txt', 'b.txt'])
    expect(await told('DELETE', '/object/drafts', token, both)).toBe(200)
    expect(await names('drafts')).toEqual(['b.txt'])
  })
})

describe('4. a file for whoever knows its exact name', () => {
  it('is downloaded and headed by anon, and in no other way found', async () => {
    await server.createBucket('drop')
    await server.admin.unsafe(`
      create policy "no listing" on storage.objects for select to anon
        using (bucket_id = 'drop' and storage.allow_any_operation(
                 array['object.get_authenticated', 'object.head_authenticated_info']));`)
    const anon = server.keys.anonKey
    expect(await told('POST', '/object/drop/a.txt', server.keys.serviceKey, 'x')).toBe(201)

    expect(await told('GET', '/object/drop/a.txt', anon)).toBe(200)
    expect(await told('GET', '/object/authenticated/drop/a.txt', anon)).toBe(200)
    expect(await told('HEAD', '/object/drop/a.txt', anon)).toBe(200)
    expect(await told('HEAD', '/object/authenticated/drop/a.txt', anon)).toBe(200)

    expect(await listed('drop', '', anon)).toEqual([])
    const page = await server.request('POST', '/object/list-v2/drop', { token: anon, body: {} })
    expect(await page.json()).toMatchObject({ objects: [], folders: [], hasNext: false })
    expect(await told('GET', '/object/info/drop/a.txt', anon)).toBe(404)
    expect(await told('POST', '/object/sign/drop/a.txt', anon, { expiresIn: 60 })).toBe(404)
    const copy = { bucketId: 'drop', sourceKey: 'a.txt', destinationKey: 'b.txt' }
    expect(await told('POST', '/object/copy', anon, copy)).toBe(404)
    // The policy is anon's: neither a request without a token nor a signed-in user has it.
    expect(await told('GET', '/object/drop/a.txt', null)).toBe(404)
    expect(await told('GET', '/object/drop/a.txt', await server.token(randomUUID()))).toBe(404)
  })
})

describe('5. membership in another table, for bucket visibility', () => {
  it('shows a team’s buckets to its members, and opens nothing else', async () => {
    const [member, stranger] = [randomUUID(), randomUUID()]
    await server.createBucket('team')
    await server.createBucket('others')
    await server.admin.unsafe(`
      create table public.members (bucket text, user_id uuid);
      grant select on public.members to authenticated;
      insert into public.members values ('team', '${member}');
      create policy "team buckets" on storage.buckets for select to authenticated
        using (exists (select 1 from public.members m
                       where m.bucket = buckets.id and m.user_id = (select auth.uid())));`)
    const [token, strange] = [await server.token(member), await server.token(stranger)]
    expect(await told('GET', '/bucket/team', token)).toBe(200)
    expect(await told('GET', '/bucket/others', token)).toBe(404)
    expect(await told('GET', '/bucket/team', strange)).toBe(404)
    expect(await told('GET', '/bucket/team', server.keys.anonKey)).toBe(404)
    for (const [who, seen] of [[token, ['team']] as const, [strange, []] as const]) {
      const list = await server.request('GET', '/bucket', { token: who })
      expect(((await list.json()) as { id: string }[]).map((bucket) => bucket.id)).toEqual(seen)
    }
    // To see a bucket is not to change it, nor to see what is in it.
    expect(await told('PUT', '/bucket/team', token, { public: true })).toBe(403)
    expect(await told('POST', '/object/team/a.txt', token, 'x')).toBe(403)
    expect(await told('DELETE', '/bucket/team', token)).toBe(403)
    await dropPolicies(server.admin)
    await server.admin`drop table public.members`
  })
})

async function told(method: string, path: string, token: string | null, body?: string | object) {
  const response = await server.request(method, `/storage/v1${path}`, { token, ...(body && { body }) })
  await response.text()
  return response.status
}

async function listed(bucket: string, prefix: string, token: string): Promise<string[]> {
  const response = await server.request('POST', `/object/list/${bucket}`, { token, body: { prefix } })
  expect(response.status).toBe(200)
  return ((await response.json()) as { name: string }[]).map((entry) => entry.name)
}

async function names(bucket: string): Promise<string[]> {
  const rows = await server.admin<{ name: string }[]>`
    select name from storage.objects where bucket_id = ${bucket} order by name collate "C"`
  return rows.map((row) => row.name)
}
