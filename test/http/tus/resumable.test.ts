import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { answerOf, metadataOf, TusRequests } from '../../support/tus-requests.ts'

let server: TestServer
let tus: TusRequests
let ann: string
let bob: string
const LIMIT = 2000

beforeAll(async () => {
  server = await startTestServer({ STORAGE_MAX_FILE_SIZE: '1MB' })
  tus = new TusRequests(server)
  ann = await server.token('ann')
  bob = await server.token('bob')
  await server.createBucket('box', { policy: 'authenticated' })
  await server.createBucket('images', { allowed_mime_types: ['image/*'], file_size_limit: LIMIT })
})
afterAll(() => server.close())

const objectAt = async (name: string) => {
  const response = await server.request('GET', `/storage/v1/object/box/${name}`)
  return response.status === 200 ? response.text() : null
}
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const rowOf = async (url: string) => {
  const id = Buffer.from(url.split('/').at(-1) ?? '', 'base64url')
    .toString()
    .slice(-36)
  const [row] = await server.admin`select * from storage.resumable_uploads where id = ${id}`
  return row ?? {}
}

describe('OPTIONS', () => {
  it.each(['/upload/resumable', '/upload/resumable/sign', '/upload/resumable/abc'])(
    'tells what this server can, to anyone: %s',
    async (path) => {
      const response = await fetch(`${server.url}/storage/v1${path}`, { method: 'OPTIONS' })
      expect([response.status, Object.fromEntries(response.headers)]).toMatchObject([
        204,
        {
          'tus-resumable': '1.0.0',
          'tus-version': '1.0.0',
          'tus-max-size': '1000000',
          'tus-checksum-algorithm': 'sha1,sha256,md5',
          'tus-extension':
            'creation,creation-with-upload,creation-defer-length,termination,expiration,checksum',
        },
      ])
    },
  )
})

describe('an upload', () => {
  it('is an object once its last byte is in, and nothing before', async () => {
    const url = await tus.begin('whole.txt', 10, { metadata: { contentType: 'text/plain' } })
    const first = await tus.patch(url, 0, 'hello')
    expect([first.status, first.headers.get('upload-offset')]).toEqual([204, '5'])
    expect(new Date(first.headers.get('upload-expires') ?? '').getTime()).toBeGreaterThan(Date.now())
    expect([first.headers.get('tus-complete'), await objectAt('whole.txt')]).toEqual([null, null])
    expect(await rowOf(url)).toMatchObject({ upload_offset: '5', upload_length: '10', owner_id: null })
    const last = await tus.patch(url, 5, 'world')
    expect([last.status, last.headers.get('upload-offset'), last.headers.get('tus-complete')]).toEqual([
      204,
      '10',
      '1',
    ])
    expect(last.headers.get('upload-expires')).toBeNull()
    expect(await objectAt('whole.txt')).toBe('helloworld')
    const info = await server.request('GET', '/storage/v1/object/info/box/whole.txt')
    expect(await info.json()).toMatchObject({
      size: 10,
      content_type: 'text/plain',
      cache_control: 'no-cache',
      checksum: sha256('helloworld'),
    })
  })

  it('tells how far it is, and that it is finished', async () => {
    const metadata = { cacheControl: '60', empty: '', own: 'ö' }
    const url = await tus.begin('asked.txt', 5, { metadata })
    await tus.patch(url, 0, 'he')
    const sent = metadataOf({ bucketName: 'box', objectName: 'asked.txt', ...metadata })
    const half = await tus.head(url)
    expect([half.status, Object.fromEntries(half.headers)]).toMatchObject([
      200,
      { 'upload-offset': '2', 'upload-length': '5', 'upload-metadata': sent, 'cache-control': 'no-store' },
    ])
    await tus.patch(url, 2, 'llo')
    const whole = await tus.head(url)
    expect([whole.status, whole.headers.get('upload-offset'), whole.headers.get('tus-complete')]).toEqual([
      200,
      '5',
      '1',
    ])
    expect(await answerOf(await tus.patch(url, 5, ''))).toEqual([409, 'The upload is finished'])
    expect((await tus.send('DELETE', url)).status).toBe(400)
  })

  const path = '/storage/v1/object/box'
  const gone: [what: string, name: string, change: (name: string) => Promise<unknown>][] = [
    ['removed', 'removed.txt', (name) => server.request('DELETE', `${path}/${name}`)],
    [
      'removed among others',
      'bulk.txt',
      (name) => server.request('DELETE', path, { body: { prefixes: [name] } }),
    ],
    ['replaced', 'replaced.txt', (name) => server.request('PUT', `${path}/${name}`, { body: 'other' })],
    [
      'moved away',
      'moved.txt',
      (sourceKey) =>
        server.request('POST', '/object/move', {
          body: { bucketId: 'box', sourceKey, destinationKey: 'elsewhere.txt' },
        }),
    ],
    ['deleted by SQL', 'sql.txt', (name) => server.admin`delete from storage.objects where name = ${name}`],
    [
      'finished some minutes ago',
      'old.txt',
      (name) => server.admin`
        update storage.resumable_uploads set expires_at = expires_at - interval '15 minutes' where name = ${name}`,
    ],
  ]
  it.each(gone)('is gone once its object was %s, so that clients begin anew', async (_what, name, change) => {
    const url = await tus.begin(name, 5)
    expect((await tus.patch(url, 0, 'hello')).status).toBe(204)
    expect((await tus.head(url)).status).toBe(200)
    await change(name)
    expect((await tus.head(url)).status).toBe(410)
    expect((await tus.patch(url, 5, '')).status).toBe(410)
    expect((await tus.send('DELETE', url)).status).toBe(410)
  })

  it('may come with its creation, in part or whole', async () => {
    const part = await tus.create('with-creation.txt', 10, { body: new TextEncoder().encode('hello') })
    expect([part.status, part.headers.get('upload-offset')]).toEqual([201, '5'])
    expect(await objectAt('with-creation.txt')).toBeNull()
    await tus.patch(part.headers.get('location') ?? '', 5, 'world')
    expect(await objectAt('with-creation.txt')).toBe('helloworld')
    const whole = await tus.create('at-once.txt', 5, { body: new TextEncoder().encode('hello') })
    expect([whole.status, whole.headers.get('tus-complete')]).toEqual([201, '1'])
    expect(await objectAt('at-once.txt')).toBe('hello')
  })

  it('of nothing is finished by its creation', async () => {
    const response = await tus.create('nothing.txt', 0)
    expect([response.status, response.headers.get('tus-complete')]).toEqual([201, '1'])
    expect(await objectAt('nothing.txt')).toBe('')
  })

  it('may say its length later, once', async () => {
    const url = await tus.begin('later.txt', null)
    await tus.patch(url, 0, 'hello')
    const head = await tus.head(url)
    expect([head.headers.get('upload-defer-length'), head.headers.get('upload-length')]).toEqual(['1', null])
    const tooSmall = await tus.patch(url, 5, '', { headers: { 'upload-length': '4' } })
    expect(tooSmall.status).toBe(400)
    const refused = { 'upload-length': '6', 'upload-checksum': 'md5 AAAA' }
    expect((await tus.patch(url, 5, '!', { headers: refused })).status).toBe(460)
    const declared = await tus.patch(url, 5, ' ', { headers: { 'upload-length': '8' } })
    expect(declared.status).toBe(204)
    const other = await tus.patch(url, 6, '!!', { headers: { 'upload-length': '9' } })
    expect([other.status, (await tus.head(url)).headers.get('upload-length')]).toEqual([400, '8'])
    await tus.patch(url, 6, '!!')
    expect(await objectAt('later.txt')).toBe('hello !!')
  })

  it('is ended at once by DELETE, with its bytes', async () => {
    const files = (await server.storedFiles()).length
    const url = await tus.begin('ended.txt', 10)
    await tus.patch(url, 0, 'hello')
    expect((await server.storedFiles()).length).toBe(files + 1)
    expect((await tus.send('DELETE', url)).status).toBe(204)
    expect((await server.storedFiles()).length).toBe(files)
    expect((await tus.head(url)).status).toBe(410)
    expect((await tus.patch(url, 5, 'world')).status).toBe(410)
    const { id } = await rowOf(url)
    expect(await server.admin`select 1 from storage.uploads where version = ${id}`).toEqual([])
    expect(await server.admin`select 1 from storage.removals where version = ${id}`).toEqual([])
  })

  it('goes on where it is, and nowhere else', async () => {
    const url = await tus.begin('offsets.txt', 10)
    await tus.patch(url, 0, 'hello')
    for (const offset of [0, 4, 6, 10]) {
      expect(await answerOf(await tus.patch(url, offset, 'world'))).toEqual([409, 'Upload-Offset conflict\n'])
    }
    expect((await tus.head(url)).headers.get('upload-offset')).toBe('5')
  })

  it('keeps nothing of a chunk that is longer than it may be', async () => {
    const url = await tus.begin('long.txt', 10)
    await tus.patch(url, 0, 'hello')
    expect(await answerOf(await tus.patch(url, 5, 'worlds'))).toEqual([413, 'Maximum size exceeded\n'])
    const chunked = await tus.send('PATCH', url, {
      headers: { 'content-type': 'application/offset+octet-stream', 'upload-offset': '5' },
      body: new Blob(['worlds']).stream(),
    })
    expect(chunked.status).toBe(413)
    expect((await tus.head(url)).headers.get('upload-offset')).toBe('5')
    await tus.patch(url, 5, 'world')
    expect(await objectAt('long.txt')).toBe('helloworld')
    const info = await server.request('GET', '/storage/v1/object/info/box/long.txt')
    expect(await info.json()).toMatchObject({ checksum: sha256('helloworld') })
  })

  it.each(['sha1', 'sha256', 'md5'])(
    'compares a chunk with its %s, and keeps it only then',
    async (algorithm) => {
      const name = `${algorithm}.txt`
      const sum = (text: string) => `${algorithm} ${createHash(algorithm).update(text).digest('base64')}`
      const url = await tus.begin(name, 10)
      const right = { headers: { 'upload-checksum': sum('hello') } }
      expect((await tus.patch(url, 0, 'hello', right)).status).toBe(204)
      const wrong = { headers: { 'upload-checksum': sum('World') } }
      expect((await tus.patch(url, 5, 'world', wrong)).status).toBe(460)
      expect((await tus.head(url)).headers.get('upload-offset')).toBe('5')
      expect(await objectAt(name)).toBeNull()
      await tus.patch(url, 5, 'world', { headers: { 'upload-checksum': sum('world') } })
      expect(await objectAt(name)).toBe('helloworld')
      const info = await server.request('GET', `/storage/v1/object/info/box/${name}`)
      expect(await info.json()).toMatchObject({ checksum: sha256('helloworld') })
    },
  )

  it.each(['crc32 AAAA', 'sha1', 'sha1 ***', 'SHA1 AAAA'])('refuses the checksum %j', async (checksum) => {
    const url = await tus.begin('no-checksum.txt', 5)
    expect((await tus.patch(url, 0, 'hello', { headers: { 'upload-checksum': checksum } })).status).toBe(400)
  })

  it('whose creation brings the wrong bytes leaves nothing', async () => {
    const body = new TextEncoder().encode('hello')
    const files = await server.storedFiles()
    const headers = { 'upload-checksum': `sha1 ${createHash('sha1').update('other').digest('base64')}` }
    expect((await tus.create('never.txt', 5, { body, headers })).status).toBe(460)
    expect((await tus.create('never.txt', 4, { body })).status).toBe(413)
    expect(await server.storedFiles()).toEqual(files)
    expect(await server.admin`select 1 from storage.uploads where name = 'never.txt'`).toEqual([])
  })

  it.each([
    ['POST', 'PATCH'],
    ['POST', 'HEAD'],
    ['POST', 'DELETE'],
  ])('takes %s for %s where a network knows no more', async (method, meant) => {
    const url = await tus.begin('overridden.txt', 5)
    const headers = {
      'x-http-method-override': meant,
      'upload-offset': '0',
      'content-type': 'application/offset+octet-stream',
    }
    const body = new TextEncoder().encode(meant === 'PATCH' ? 'hel' : '')
    const response = await tus.send(method, url, { headers, body })
    expect(response.status).toBe(meant === 'HEAD' ? 200 : 204)
    const after = await tus.head(url)
    expect([after.status, after.headers.get('upload-offset')]).toEqual(
      meant === 'DELETE' ? [410, null] : [200, meant === 'PATCH' ? '3' : '0'],
    )
  })
})

describe('who may upload', () => {
  it('only its creator goes on with an upload', async () => {
    const url = await tus.begin('of-ann.txt', 5, { token: ann })
    const anon = server.keys.anonKey
    for (const token of [bob, anon, undefined]) {
      expect((await tus.head(url, token === undefined ? {} : { token })).status).toBe(403)
      expect((await tus.patch(url, 0, 'hello', token === undefined ? {} : { token })).status).toBe(403)
      expect((await tus.send('DELETE', url, token === undefined ? {} : { token })).status).toBe(403)
    }
    expect((await tus.patch(url, 0, 'hello', { token: ann })).status).toBe(204)
    expect(await server.admin`select owner_id from storage.objects where name = 'of-ann.txt'`).toEqual([
      { owner_id: 'ann' },
    ])
  })

  it('says with x-upsert when it begins whether an object may be replaced, and not later', async () => {
    const upsert = { headers: { 'x-upsert': 'true' } }
    const [careful, bold] = [await tus.begin('won.txt', 5), await tus.begin('won.txt', 5, upsert)]
    await tus.begin('won.txt', 0)
    expect((await tus.patch(careful, 0, 'later', upsert)).status).toBe(409)
    expect((await tus.patch(bold, 0, 'he')).status).toBe(204)
    expect((await tus.patch(bold, 2, 'llo', { headers: { 'x-upsert': 'false' } })).status).toBe(204)
    expect(await objectAt('won.txt')).toBe('hello')

    // One that an older server began, whose row does not say.
    const old = await tus.begin('won.txt', 5, upsert)
    await server.admin`update storage.resumable_uploads set content = content - 'upsert' where ended is null`
    expect((await tus.patch(old, 0, 'older')).status).toBe(409)
    expect((await tus.patch(old, 0, 'older', upsert)).status).toBe(204)
    await tus.send('DELETE', careful)
  })

  it('is asked of the policies before any byte, each time', async () => {
    const denied = [403, 'new row violates row-level security policy']
    expect(await answerOf(await tus.create('x.txt', 5, { token: server.keys.anonKey }))).toEqual(denied)
    await tus.begin('taken.txt', 0, { token: bob })
    expect(await answerOf(await tus.create('taken.txt', 5, { token: ann }))).toEqual([
      409,
      'The resource already exists',
    ])
    // As bob uploaded it, his is the only update that the policies allow.
    const upsert = { headers: { 'x-upsert': 'true' } }
    expect((await tus.create('taken.txt', 5, { token: ann, ...upsert })).status).toBe(403)
    const url = await tus.begin('taken.txt', 5, { token: bob, ...upsert })
    expect((await tus.patch(url, 0, 'hello', { token: bob })).status).toBe(204)
    expect(await objectAt('taken.txt')).toBe('hello')
    const late = await tus.begin('late.txt', 5, { token: ann })
    await server.admin`update storage.buckets set policy = 'private' where id = 'box'`
    try {
      expect(await answerOf(await tus.patch(late, 0, 'hello', { token: ann }))).toEqual(denied)
      expect((await rowOf(late)).upload_offset).toBe('0')
      expect((await tus.send('DELETE', late, { token: ann })).status).toBe(403)
    } finally {
      await server.admin`update storage.buckets set policy = 'authenticated' where id = 'box'`
    }
    expect((await tus.patch(late, 0, 'hello', { token: ann })).status).toBe(204)
  })

  it('is told in JSON when the login is no good, and in text of all else', async () => {
    const bad = await tus.create('x.txt', 5, { token: 'no.such.token' })
    expect([bad.status, await bad.json()]).toMatchObject([401, { code: 'InvalidToken' }])
    const none = await tus.create('x.txt', 5, { token: null })
    expect([none.status, none.headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
    const text = await tus.create('x.txt', 2_000_000)
    expect([text.status, text.headers.get('content-type')]).toEqual([413, 'text/plain; charset=utf-8'])
  })

  it('may end its upload when somebody else has taken the name', async () => {
    const url = await tus.begin('late-to-end.txt', 5, { token: ann })
    await tus.patch(url, 0, 'hel', { token: ann })
    await tus.begin('late-to-end.txt', 0, { token: bob })
    expect((await tus.patch(url, 3, 'lo', { token: ann })).status).toBe(409)
    expect((await tus.send('DELETE', url, { token: ann })).status).toBe(204)
    expect((await tus.head(url, { token: ann })).status).toBe(410)
  })

  it('goes on although the row could not be made when the last byte came', async () => {
    const url = await tus.begin('pending.txt', 5, { token: ann })
    await server.admin.unsafe(`create function refuse() returns trigger language plpgsql as
      $$ begin if new.version <> '1' then raise exception 'not now' using errcode = '57P03'; end if; return new; end $$;
      create trigger refuse before insert on storage.objects for each row execute function refuse()`)
    try {
      expect((await tus.patch(url, 0, 'hello', { token: ann })).status).toBe(503)
      // Nobody is told that all has arrived as long as there is no object.
      expect((await tus.head(url, { token: ann })).status).toBe(423)
      const headers = { 'x-http-method-override': 'HEAD' }
      expect((await tus.send('POST', url, { token: ann, headers })).status).toBe(423)
    } finally {
      await server.admin.unsafe('drop trigger refuse on storage.objects; drop function refuse()')
    }
    const head = await tus.head(url, { token: ann })
    expect([head.status, head.headers.get('upload-offset'), head.headers.get('tus-complete')]).toEqual([
      200,
      '5',
      '1',
    ])
    expect(await objectAt('pending.txt')).toBe('hello')
  })
})

describe('a creation is refused', () => {
  const metadata = (fields: Record<string, string>) => ({ 'upload-metadata': metadataOf(fields) })
  const image = { bucketName: 'images', objectName: 'a.png' }
  it.each<[what: string, status: number, headers: Record<string, string | undefined>]>([
    ['without the protocol', 412, { 'tus-resumable': undefined }],
    ['of another version', 412, { 'tus-resumable': '0.2.2' }],
    ['without metadata', 400, { 'upload-metadata': undefined }],
    ['with malformed metadata', 400, { 'upload-metadata': 'bucketName !' }],
    ['with more metadata than clients take back', 400, metadata({ ...image, more: 'x'.repeat(10_000) })],
    ['without an object', 400, metadata({ bucketName: 'box' })],
    ['without a bucket', 400, metadata({ objectName: 'x' })],
    ['with a path that climbs', 400, metadata({ bucketName: 'box', objectName: '../x' })],
    ['with text that is no UTF-8', 400, { 'upload-metadata': 'bucketName Ym94,objectName /w==' }],
    ['into no bucket', 404, metadata({ bucketName: 'none', objectName: 'x' })],
    ['without a length', 400, { 'upload-length': undefined }],
    ['with two lengths', 400, { 'upload-defer-length': '1' }],
    ['with a malformed length', 400, { 'upload-length': '5x' }],
    ['with a negative length', 400, { 'upload-length': '-5' }],
    ['with a length beyond all numbers', 400, { 'upload-length': '9'.repeat(30) }],
    ['with a malformed promise of a length', 400, { 'upload-length': undefined, 'upload-defer-length': '2' }],
    ['over the global limit', 413, { 'upload-length': '1000001' }],
    ['over the limit of the bucket', 413, { ...metadata(image), 'upload-length': String(LIMIT + 1) }],
    ['of a type that the bucket does not take', 415, metadata({ ...image, contentType: 'text/plain' })],
    ['of a malformed type', 415, metadata({ ...image, contentType: 'image' })],
    ['whose name stands for another type', 415, metadata({ ...image, objectName: 'a.txt' })],
    ['as one of several parts', 501, { 'upload-concat': 'partial' }],
  ])('%s: %d', async (_what, status, headers) => {
    const response = await tus.create('refused.txt', 5, { headers })
    expect([response.status, response.headers.get('location')]).toEqual([status, null])
    expect(response.headers.get('tus-resumable')).toBe('1.0.0')
    expect(await server.admin`select 1 from storage.uploads where name in ('refused.txt', 'a.png')`).toEqual(
      [],
    )
  })

  it('by the policies rather than for its type', async () => {
    const headers = metadata({ ...image, contentType: 'text/plain' })
    expect((await tus.create('x', 5, { token: ann, headers })).status).toBe(403)
  })
})

describe('a chunk is refused', () => {
  it.each<[what: string, status: number, headers: Record<string, string | undefined>]>([
    ['without an offset', 400, { 'upload-offset': undefined }],
    ['with a malformed offset', 400, { 'upload-offset': '1e3' }],
    ['of another type', 400, { 'content-type': 'application/octet-stream' }],
    ['without the protocol', 412, { 'tus-resumable': undefined }],
  ])('%s: %d', async (_what, status, headers) => {
    const url = await tus.begin('chunk.txt', 5)
    expect((await tus.patch(url, 0, 'hello', { headers })).status).toBe(status)
    expect((await rowOf(url)).upload_offset).toBe('0')
  })

  const encode = (text: string) => Buffer.from(text).toString('base64url')
  const nobody = '00000000-0000-4000-8000-000000000000'
  it.each([
    ['that is no base64url', 'x', 400],
    ['with padding', `${encode(`box/name/${nobody}`)}=`, 400],
    ['with unused bits set', encode(`box/name1/${nobody}`).replace(/A$/, 'B'), 400],
    ['that names nothing', encode('abc'), 404],
    ['that names no version', encode('box/name'), 404],
    ['whose version is no UUID', encode('box/name/..'), 404],
    ['of Supabase, with its tenant', encode(`tenant/box/name/${nobody.toUpperCase()}`), 404],
    ['that is no text', Buffer.from([255, 47, 97, 47, 98]).toString('base64url'), 404],
    ['with a NUL', encode(`box/a\0b/${nobody}`), 404],
    ['of an upload that never was', encode(`box/name/${nobody}`), 404],
  ])('at a URL %s', async (_what, id, status) => {
    const url = `/storage/v1/upload/resumable/${id}`
    expect((await tus.patch(url, 0, 'x')).status).toBe(status)
    expect((await tus.head(url)).status).toBe(status)
    expect((await tus.send('DELETE', url)).status).toBe(status)
  })

  it('at the URL of another object', async () => {
    const url = await tus.begin('mine.txt', 5)
    const version = (await rowOf(url)).id
    const other = `/storage/v1/upload/resumable/${encode(`box/yours.txt/${version}`)}`
    expect((await tus.patch(other, 0, 'hello')).status).toBe(404)
    expect((await tus.patch(url.replace('/resumable/', '/resumable/sign/'), 0, 'hello')).status).toBe(400)
  })

  it('over the limit that its bucket has got meanwhile', async () => {
    const headers = { 'upload-metadata': metadataOf({ bucketName: 'images', objectName: 'big.png' }) }
    const response = await tus.create('x', 1500, { headers })
    const url = response.headers.get('location') ?? ''
    await server.admin`update storage.buckets set file_size_limit = 1000 where id = 'images'`
    expect((await tus.patch(url, 0, 'hello')).status).toBe(413)
    await server.admin`update storage.buckets set file_size_limit = ${LIMIT} where id = 'images'`
    expect((await tus.patch(url, 0, 'hello')).status).toBe(204)
  })

  it('over the limit although its length is not known', async () => {
    const headers = { 'upload-metadata': metadataOf({ bucketName: 'images', objectName: 'grows.png' }) }
    const url = (await tus.create('x', null, { headers })).headers.get('location') ?? ''
    expect((await tus.patch(url, 0, 'x'.repeat(LIMIT))).status).toBe(204)
    expect((await tus.patch(url, LIMIT, 'x')).status).toBe(413)
    expect(
      (await tus.patch(url, LIMIT, '', { headers: { 'upload-length': String(LIMIT + 1) } })).status,
    ).toBe(413)
    expect((await tus.patch(url, LIMIT, '', { headers: { 'upload-length': String(LIMIT) } })).status).toBe(
      204,
    )
  })

  it('in a bucket that is no more', async () => {
    await server.createBucket('short-lived')
    const headers = { 'upload-metadata': metadataOf({ bucketName: 'short-lived', objectName: 'x' }) }
    const url = (await tus.create('x', 5, { headers })).headers.get('location') ?? ''
    await server.request('DELETE', '/storage/v1/bucket/short-lived')
    expect((await tus.patch(url, 0, 'hello')).status).toBe(404)
    expect((await tus.send('DELETE', url)).status).toBe(204)
    await server.createBucket('short-lived')
    const other = (await tus.create('x', 5, { headers })).headers.get('location') ?? ''
    await server.request('DELETE', '/storage/v1/bucket/short-lived')
    await server.createBucket('short-lived')
    expect((await tus.patch(other, 0, 'hello')).status).toBe(404)
  })
})
