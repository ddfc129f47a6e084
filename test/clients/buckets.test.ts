import { expect, it } from 'vitest'
import { describeClientInBothModes, ok, refused, textOf } from './describe-client.ts'

/** The sentence that Supabase's clients compare; by default the rule stands behind it. */
const invalid = (isSupabase: boolean) =>
  expect.stringMatching(isSupabase ? /^Bucket name invalid$/ : /^Bucket name invalid: /)

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

describeClientInBothModes((clients) => {
  it('makes a bucket that is private and without limits, and shows it', async () => {
    expect(ok(await clients.service.createBucket('plain'))).toEqual({ name: 'plain' })

    expect(ok(await clients.service.getBucket('plain'))).toMatchObject({
      id: 'plain',
      name: 'plain',
      owner: '',
      public: false,
      file_size_limit: null,
      allowed_mime_types: null,
      created_at: expect.stringMatching(ISO),
      updated_at: expect.stringMatching(ISO),
    })
  })

  it.each([
    ['number of bytes', 5000, 5000],
    ['size with a unit', '5MB', 5_000_000],
    ['null', null, null],
  ])(
    'keeps what createBucket says: visibility, MIME types and a limit as a %s',
    async (kind, given, kept) => {
      const name = `settings-${kind.replaceAll(' ', '-')}`
      const allowedMimeTypes = ['image/*', 'text/plain']
      ok(await clients.service.createBucket(name, { public: true, fileSizeLimit: given, allowedMimeTypes }))

      expect(ok(await clients.service.getBucket(name))).toMatchObject({
        public: true,
        file_size_limit: kept,
        allowed_mime_types: allowedMimeTypes,
      })
    },
  )

  it('takes any bucket name that Supabase takes', async () => {
    const name = "Team's files (2026)_v1.2 & more"
    ok(await clients.service.createBucket(name))
    ok(await clients.service.from(name).upload('a.txt', 'in an odd bucket'))

    expect(ok(await clients.service.getBucket(name)).id).toBe(name)
    expect(await textOf(clients.service.from(name), 'a.txt')).toBe('in an odd bucket')
  })

  it.each(['a/b', ' leading', '', 'ümlaut', 'x'.repeat(101), 'lake--table-s3'])(
    'refuses the bucket name %j',
    async (name) => {
      const answer = await clients.service.createBucket(name)

      expect(refused(answer)).toEqual({ ...clients.refusal(400, ''), message: invalid(clients.isSupabase) })
      expect(await clients.server.admin`select from storage.buckets where id = ${name}`).toHaveLength(0)
    },
  )

  it('answers the same with a slash behind the path', async () => {
    const { server } = clients
    const body = { name: 'slash' }
    expect((await server.request('POST', '/storage/v1/bucket/', { body })).ok).toBe(true)
    const list = await (await server.request('GET', '/bucket/?search=slash')).json()
    expect(list).toMatchObject([{ id: 'slash' }])
    expect(await (await server.request('GET', '/bucket/slash/')).json()).toMatchObject({ id: 'slash' })
    expect((await server.request('PUT', '/bucket/slash/', { body: { public: true } })).status).toBe(200)
    expect((await server.request('POST', '/bucket/slash/empty/')).status).toBe(200)
    expect((await server.request('DELETE', '/bucket/slash/')).status).toBe(200)
    expect((await server.request('GET', '/bucket/slash//')).status).toBe(404)
  })

  it.each(['.', '..'])('refuses the bucket name %s, which no URL can hold', async (name) => {
    const answer = await clients.service.createBucket(name)
    expect(refused(answer)).toEqual({ ...clients.refusal(400, ''), message: invalid(clients.isSupabase) })
  })

  it.each([
    'public',
    'authenticated',
    'info',
    'sign',
    'list',
    'list-v2',
    'upload',
    'move',
    'copy',
    'resumable',
  ])(
    "takes the bucket name %s, a route's word, only where Supabase does; and lets go of one that exists",
    async (name) => {
      const answer = await clients.service.createBucket(name)

      if (clients.isSupabase) ok(answer)
      else {
        expect(refused(answer)).toMatchObject({
          statusCode: '400',
          message: expect.stringMatching(/^Bucket name invalid: /),
        })
        await clients.server.admin`insert into storage.buckets (id, name) values (${name}, ${name})`
      }
      expect(ok(await clients.service.getBucket(name)).id).toBe(name)
      ok(await clients.service.updateBucket(name, { public: true }))
      ok(await clients.service.emptyBucket(name))
      ok(await clients.service.deleteBucket(name))
    },
  )

  it('refuses a second bucket of the same name, and leaves the first as it is', async () => {
    const name = await clients.bucket({ public: true })

    const answer = await clients.service.createBucket(name, { public: false })

    expect(refused(answer)).toEqual(clients.refusal(409, 'The resource already exists'))
    expect(ok(await clients.service.getBucket(name)).public).toBe(true)
  })

  it.each([
    ['a limit above the global one', { fileSizeLimit: '6GB' }, 413],
    ['a limit that is no size', { fileSizeLimit: 'much' }, 400],
    ['a MIME type that is none', { allowedMimeTypes: ['no type'] }, 415],
  ])('refuses %s, and makes no bucket', async (_what, settings, statusCode) => {
    const answer = await clients.service.createBucket('never', { public: false, ...settings })

    expect(refused(answer)).toMatchObject({
      status: clients.isSupabase ? 400 : statusCode,
      statusCode: String(statusCode),
    })
    expect(await clients.server.admin`select from storage.buckets where id = 'never'`).toHaveLength(0)
  })

  it('changes what updateBucket says, and leaves the rest', async () => {
    const name = await clients.bucket({ file_size_limit: 10, allowed_mime_types: ['image/png'] })

    const answer = await clients.service.updateBucket(name, { public: true, fileSizeLimit: null })

    expect(ok(answer)).toEqual({ message: 'Successfully updated' })
    expect(ok(await clients.service.getBucket(name))).toMatchObject({
      id: name,
      public: true,
      file_size_limit: null,
      allowed_mime_types: ['image/png'],
    })
  })

  it('opens and closes the public URLs of a bucket with updateBucket, at once', async () => {
    const name = await clients.bucket()
    ok(await clients.service.from(name).upload('a.txt', 'here'))
    const { publicUrl } = clients.service.from(name).getPublicUrl('a.txt').data
    const statuses = [(await fetch(publicUrl)).ok]

    for (const isPublic of [true, false]) {
      ok(await clients.service.updateBucket(name, { public: isPublic }))
      statuses.push((await fetch(publicUrl)).ok)
    }

    expect(statuses).toEqual([false, true, false])
  })

  it('empties a bucket: no object, no row, no bytes; and then deletes it', async () => {
    const name = await clients.bucket()
    const before = await clients.stored()
    for (const path of ['a.txt', 'deep/b.txt']) ok(await clients.service.from(name).upload(path, path))

    expect(refused(await clients.service.deleteBucket(name))).toEqual(
      clients.refusal(409, 'The bucket is not empty'),
    )
    expect(ok(await clients.service.emptyBucket(name)).message).toBe(
      clients.isSupabase
        ? 'Empty bucket has been queued. Completion may take up to an hour.'
        : 'Successfully emptied',
    )

    expect(ok(await clients.service.from(name).list())).toEqual([])
    expect(await clients.stored()).toEqual(before)
    expect(ok(await clients.service.deleteBucket(name))).toEqual({ message: 'Successfully deleted' })
    expect(refused(await clients.service.getBucket(name))).toEqual(clients.refusal(404, 'Bucket not found'))
  })

  it('says of a bucket that is not there that it is not found', async () => {
    const { service } = clients
    const answers = [
      await service.getBucket('absent'),
      await service.updateBucket('absent', { public: true }),
      await service.emptyBucket('absent'),
      await service.deleteBucket('absent'),
    ]

    for (const answer of answers) expect(refused(answer)).toEqual(clients.refusal(404, 'Bucket not found'))
  })

  it('lists the buckets: sorted, searched, in pages, and only those a caller may see', async () => {
    for (const letter of ['b', 'C', 'a', 'd'])
      ok(await clients.service.createBucket(`list_${letter}`, { public: false }))
    const names = async (options: Parameters<typeof clients.service.listBuckets>[0]) =>
      ok(await clients.service.listBuckets(options)).map((bucket) => bucket.name)

    expect(await names({ search: 'LIST_', sortColumn: 'created_at' })).toEqual([
      'list_b',
      'list_C',
      'list_a',
      'list_d',
    ])
    const search = 'list_'
    expect(await names({ search, sortColumn: 'created_at', sortOrder: 'desc', limit: 2 })).toEqual([
      'list_d',
      'list_a',
    ])
    expect(await names({ search, sortColumn: 'created_at', limit: 2, offset: 3 })).toEqual(['list_d'])
    expect(await names({ search: 'st%d' })).toEqual([])
    expect(await names(undefined)).toEqual(expect.arrayContaining(['list_a', 'list_b', 'list_C', 'list_d']))
    expect(ok(await clients.user('a-stranger').listBuckets({ search }))).toEqual([])
    expect(ok(await clients.service.listBuckets({ search, limit: 1 }))[0]).toMatchObject({ type: 'STANDARD' })
  })

  it.each([
    ['anonymous callers', () => clients.anonymous],
    ['signed-in users', () => clients.user('somebody')],
  ])('lets %s neither make nor change nor empty nor delete buckets', async (_who, client) => {
    const name = await clients.bucket()
    const denied = clients.refusal(403, 'new row violates row-level security policy')

    expect(refused(await client().createBucket('mine-now'))).toEqual(denied)
    expect(refused(await client().updateBucket(name, { public: true }))).toEqual(
      clients.refusal(404, 'Bucket not found'),
    )
    expect(refused(await client().emptyBucket(name))).toMatchObject({ status: 403, statusCode: '403' })
    expect(refused(await client().deleteBucket(name))).toEqual(clients.refusal(404, 'Bucket not found'))

    expect(ok(await clients.service.getBucket(name)).public).toBe(false)
    expect(refused(await clients.service.getBucket('mine-now')).statusCode).toBe('404')
  })
})
