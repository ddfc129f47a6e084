import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { type S3TestServer, startS3Server } from '../support/s3-protocol.ts'

const USER = '4f9c1d7e-0000-4000-8000-000000000001'

let proxy: PostgresProxy
let server: S3TestServer
let token: string
beforeAll(async () => {
  proxy = await openPostgresProxy()
  // One connection, so that each statement is prepared there by the second time.
  const env = { STORAGE_DATABASE_POOL: '1' }
  server = await startS3Server(env, { databaseUrl: (name) => proxy.url(name) })
  token = await server.token(USER)
  await server.createBucket('open', { policy: 'public' })
  await server.createBucket('users', { policy: 'authenticated' })
})
afterEach(() => proxy.arm(0))
afterAll(async () => {
  await server.close()
  await proxy.close()
})

/** What the server does by itself, whoever asks for what. */
const BACKGROUND = /order_events|still_public|changed_names|webhook|^listen|events_channel|take_turn/

let count = 0
const fresh = () => `file-${++count}`

async function send(method: string, path: string, init: Parameters<S3TestServer['request']>[2] = {}) {
  const response = await server.request(method, `/storage/v1${path}`, { token, ...init })
  const body = await response.text()
  expect(response.status, body).toBeLessThan(300)
  return body
}

async function upload(path: string, body = 'small', headers: Record<string, string> = {}) {
  await send('POST', `/object/${path}`, { body, headers: { 'content-type': 'text/plain', ...headers } })
  return path
}

/** The statements of one request, by their first words, when it is made for the third time. */
async function statements(request: () => Promise<unknown>): Promise<string[]> {
  await request()
  await request()
  proxy.arm(0)
  await request()
  return proxy.roundTrips.filter((text) => !BACKGROUND.test(text)).map(shortly)
}

/** Asked again while the server's own work comes in between. */
async function costs(request: () => Promise<unknown>, expected: string[]) {
  await expect.poll(() => statements(request), { timeout: 90_000 }).toEqual(expected)
}

/** The function that it asks, or its first word. */
function shortly(text: string): string {
  return /^\s*select .*?storage\.(\w+)\(/s.exec(text)?.[1] ?? text.trim().split(' ')[0] ?? ''
}

describe('what a request costs in statements', () => {
  it('GET, HEAD and info under RLS: one, also of bytes that are not in memory', async () => {
    const path = await upload('users/read')
    const paths: string[] = []
    for (let made = 0; made < 30; made++) paths.push(await upload(`users/${fresh()}`))
    await costs(() => send('GET', `/object/${paths.pop()}`), ['read_row'])
    await costs(() => send('GET', `/object/${path}`), ['read_row'])
    await costs(() => send('HEAD', `/object/${path}`), ['read_row'])
    await costs(() => send('GET', `/object/info/${path}`), ['read_row'])
  })

  it('GET by a signed URL: one, and one to sign it, or a hundred of them', async () => {
    const path = await upload('users/signed')
    const sign = () => send('POST', `/object/sign/${path}`, { body: { expiresIn: 600 } })
    await costs(sign, ['read_row'])
    const paths = Array.from({ length: 100 }, (_, index) => (index === 0 ? 'signed' : `none-${index}`))
    const signAll = () => send('POST', '/object/sign/users', { body: { expiresIn: 600, paths } })
    await costs(signAll, ['visible_names_as'])
    const { signedURL } = JSON.parse(await sign())
    await costs(() => send('GET', signedURL, { token: null }), ['read_row'])
  })

  it('a bucket: one transaction, which counts nothing', async () => {
    // Not prepared, so that its one statement takes two round trips.
    await costs(() => send('GET', '/bucket/users'), ['begin', 'act_as', 'select', 'select', 'commit'])
  })

  it('lists: one', async () => {
    const old = () => send('POST', '/object/list/users', { body: { prefix: '' } })
    await costs(old, ['folder_entries_as'])
    const paged = () => send('POST', '/object/list-v2/users', { body: { prefix: '' } })
    await costs(paged, ['page_entries_as'])
  })

  it('a small upload: one, also when it replaces another', async () => {
    await costs(() => upload(`users/${fresh()}`), ['put_object_version'])
    const path = await upload('users/again')
    await costs(() => upload(path, 'other', { 'x-upsert': 'true' }), ['put_object_version'])
    // A file that it replaces is noted as gone.
    const files: string[] = []
    for (let made = 0; made < 30; made++) files.push(await upload(`users/${fresh()}`, 'x'.repeat(20_000)))
    const overFile = () => upload(files.pop() ?? '', 'small', { 'x-upsert': 'true' })
    await costs(overFile, ['put_object_version', 'strike_removals'])
  })

  it('a small upload under a condition: one transaction more than it takes to foretell it', async () => {
    await upload('users/judged')
    const judged = () => upload('users/judged', 'other', { 'x-upsert': 'true', 'if-match': '*' })
    const judging = ['begin', 'act_as', 'select']
    await costs(judged, [
      'bucket_settings',
      ...judging,
      'commit',
      ...judging,
      'insert',
      'own_removals',
      'select',
      'write_inline_bytes',
      'act_as',
      'commit',
    ])
  })

  it('a small copy: what it is of, the settings of its bucket, and one transaction', async () => {
    await upload('users/original')
    const copy = () => {
      const body = { bucketId: 'users', sourceKey: 'original', destinationKey: fresh() }
      return send('POST', '/object/copy', { body })
    }
    await costs(copy, [
      'bucket_settings',
      'read_row',
      'begin',
      'act_as',
      'insert',
      'select',
      'copy_inline_bytes',
      'act_as',
      'commit',
    ])
  })

  const LARGER = 'x'.repeat(20_000)

  it('an upload that is too large for the database: one, when the one before it was allowed', async () => {
    await costs(() => upload(`users/${fresh()}`, LARGER), ['put_object_version'])
  })

  it('an overwrite by one: the same, and the note that the bytes before are gone', async () => {
    const path = await upload('users/large-again', LARGER)
    await costs(() => upload(path, LARGER, { 'x-upsert': 'true' }), ['put_object_version', 'strike_removals'])
  })

  it('the first one, of somebody or in a bucket: the settings of its bucket, and one transaction', async () => {
    const anew = async () => {
      const token = await server.token(randomUUID())
      await send('POST', `/object/users/${fresh()}`, { token, body: LARGER })
    }
    await costs(anew, ['bucket_settings', 'begin', 'act_as', 'insert', 'commit'])
  })

  it('one under a condition: one transaction more than it takes to foretell it', async () => {
    await upload('users/larger-judged', LARGER)
    const judged = () => upload('users/larger-judged', LARGER, { 'x-upsert': 'true', 'if-match': '*' })
    const judging = ['begin', 'act_as', 'select']
    const transaction = [...judging, 'insert', 'own_removals', 'commit', 'strike_removals']
    await costs(judged, ['bucket_settings', ...judging, 'commit', ...transaction])
  })

  it('a large upload: the policies are asked before, then one transaction', async () => {
    const body = 'x'.repeat(300_000)
    await costs(
      () => upload(`users/${fresh()}`, body),
      ['bucket_settings', 'begin_upload', 'begin', 'act_as', 'insert', 'finish_upload', 'commit'],
    )
  })

  it('a delete: one, also by S3, and the note that the bytes are gone if they were not in the database', async () => {
    const paths = { small: [] as string[], large: [] as string[], byS3: [] as string[] }
    for (let made = 0; made < 30; made++) {
      paths.small.push(await upload(`users/${fresh()}`))
      paths.byS3.push(await upload(`users/${fresh()}`))
      paths.large.push(await upload(`users/${fresh()}`, 'x'.repeat(20_000)))
    }
    await costs(() => send('DELETE', `/object/${paths.small.pop()}`), ['delete_objects'])
    await costs(() => send('DELETE', `/object/${paths.large.pop()}`), ['delete_objects', 'strike_removals'])
    await costs(() => server.send('DELETE', `/${paths.byS3.pop()}`), ['delete_objects'])
  })

  it('a delete of many: one for each 500 of them', async () => {
    const names = Array.from({ length: 1000 }, (_, index) => `many-${index}`)
    for (const name of ['many-0', 'many-999']) await upload(`users/${name}`)
    const removeAll = () => send('DELETE', '/object/users', { body: { prefixes: names } })
    await costs(removeAll, ['delete_objects', 'delete_objects'])
  })

  it('a public object that was just read: none', async () => {
    const path = 'open/often'
    await server.request('POST', `/storage/v1/object/${path}`, { body: 'public' })
    const read = () => send('GET', `/object/public/${path}`, { token: null })
    await read()
    await costs(read, [])
  })
})
