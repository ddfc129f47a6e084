import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNothingWritten } from '../../support/traces.ts'

/* What Supabase's framework makes of JSON whose values are of a near type, and what clients rely on therefore. */

const move = { bucketId: 'box', sourceKey: 'a.txt', destinationKey: 'b.txt' }

describe.each([
  ['by default', {}],
  ['under STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }],
])('%s', (_mode, env: Record<string, string>) => {
  let server: TestServer

  beforeAll(async () => {
    server = await startTestServer(env)
    await server.createBucket('box')
    expect((await server.request('POST', '/object/box/a.txt', { body: 'hello' })).ok).toBe(true)
  })
  afterAll(() => server.close())

  const ask = async (method: string, path: string, body: object) => {
    const response = await server.request(method, path, { body })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }

  it.each<[method: string, path: string, body: object]>([
    // The Python SDK's create_signed_url and create_signed_urls.
    ['POST', '/object/sign/box/a.txt', { expiresIn: '60' }],
    ['POST', '/object/sign/box/a.txt', { expiresIn: '60', download: true }],
    ['POST', '/object/sign/box', { paths: ['a.txt'], expiresIn: '60' }],
    ['POST', '/object/sign/box', { expiresIn: 60, paths: 'a.txt' }],
    ['POST', '/object/list/box', { prefix: '', limit: '10', offset: '0', search: null }],
    ['POST', '/object/list/box', { prefix: '', limit: null, offset: null, sortBy: null }],
    ['POST', '/object/list-v2/box', { limit: '10', with_delimiter: 'true', prefix: null, cursor: null }],
    ['POST', '/object/list-v2/box', { limit: null, with_delimiter: 0 }],
    ['PUT', '/bucket/box', { public: 'false' }],
    ['PUT', '/bucket/box', { public: 0, allowed_mime_types: 'text/*' }],
    ['PATCH', '/bucket/box', { file_size_limit: '1000', policy: null }],
  ])('%s %s takes %j', async (method, path, body) => {
    expect(await ask(method, path, body)).toMatchObject({ status: 200 })
  })

  it('means by a text, a number or null what it means by the value itself', async () => {
    const list = await ask('POST', '/object/list-v2/box', { limit: '1', with_delimiter: 1 })
    expect(list.body).toMatchObject({ hasNext: false, objects: [{ key: 'a.txt', name: 'a.txt' }] })

    const settings = { public: 'true', allowed_mime_types: 'image/*', file_size_limit: '20' }
    const absent = { id: null, type: null, versioning_status: null, policy: null }
    await server.createBucket('told', { ...settings, ...absent })
    expect(await (await server.request('GET', '/bucket/told')).json()).toMatchObject({
      id: 'told',
      public: true,
      allowed_mime_types: ['image/*'],
      file_size_limit: 20,
    })

    const copied = await ask('POST', '/object/copy', {
      ...move,
      copyMetadata: 'false',
      metadata: { mimetype: 'text/css' },
    })
    expect(copied.status).toBeLessThan(300)
    const info = await server.request('GET', '/object/info/box/b.txt')
    expect(await info.json()).toMatchObject({ content_type: 'text/css' })

    const removed = await ask('DELETE', '/object/box', { prefixes: 'b.txt' })
    expect(removed.body).toMatchObject([{ name: 'b.txt' }])
  })

  it('does so of a webhook too', async () => {
    const url = 'https://example.com/hook'
    const all = { secret: null, format: null, bucket: null }
    const made = await ask('POST', '/webhook', {
      url,
      events: 'storage.object.created',
      allow_private: 1,
      ...all,
    })
    const about = { url, events: ['storage.object.created'], allow_private: true, bucket: null }
    expect(made).toMatchObject({ status: 201, body: { ...about, format: 'standard' } })
    const path = `/webhook/${made.body.id}`
    const changed = await ask('PATCH', path, { url: null, allow_private: 'false' })
    expect(changed).toMatchObject({ status: 200, body: { url, allow_private: false } })
    const replayed = { status: 200, body: { replayed: 0 } }
    expect(await ask('POST', `${path}/dead-letter/replay`, { ids: ['1', 2] })).toMatchObject(replayed)
    expect(await ask('POST', `${path}/dead-letter/replay`, { ids: null })).toMatchObject(replayed)
    const refused = await ask('POST', `${path}/dead-letter/replay`, { ids: ['1.5'] })
    expect(refused).toMatchObject({ status: 400, body: { message: expect.stringContaining('body/ids/0 ') } })
    expect(await ask('PATCH', path, { secret: null })).toMatchObject({ status: 400 })
    await server.request('DELETE', path)
  })

  it.each<[method: string, path: string, body: object, place: string]>([
    ...['60.5', '', '60s', ' 60', '0x3c', '6e1', '1'.repeat(16), '-60', '0', null, true, ['60']].map(
      (expiresIn): [string, string, object, string] => [
        'POST',
        '/object/sign/box/a.txt',
        { expiresIn },
        'body/expiresIn',
      ],
    ),
    ['POST', '/object/list/box', { prefix: '', limit: '1.5' }, 'body/limit'],
    ['POST', '/object/list/box', { prefix: '', limit: '0' }, 'body/limit'],
    ['POST', '/object/list/box', { prefix: null }, 'body/prefix'],
    ['POST', '/object/list-v2/box', { with_delimiter: 'yes' }, 'body/with_delimiter'],
    ['PUT', '/bucket/box', { public: 2 }, 'body/public'],
    ['PUT', '/bucket/box', { public: 'True' }, 'body/public'],
    ['PUT', '/bucket/box', { public: '' }, 'body/public'],
    ['PUT', '/bucket/box', { policy: null }, 'body'],
    ['PUT', '/bucket/box', { allowed_mime_types: 1 }, 'body/allowed_mime_types'],
    ['POST', '/object/sign/box', { expiresIn: '60', paths: null }, 'body/paths'],
    ['DELETE', '/object/box', { prefixes: 1 }, 'body/prefixes'],
    ['DELETE', '/object/box', { prefixes: null }, 'body/prefixes'],
  ])('%s %s refuses %j', async (method, path, body, place) => {
    const { status, body: answer } = await expectNothingWritten(server, () => ask(method, path, body))
    expect(status).toBe(400)
    expect(answer).toMatchObject({ code: 'InvalidRequest', message: expect.stringMatching(`^${place} `) })
  })
})
