import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'

/*
 * An attacker guesses names of what is not his, and asks for changes: whether an answer differs from that for a name
 * that nobody has given tells him whether there is such a thing. The victim's objects must still be there afterwards.
 */

interface Answer {
  status: number
  body: unknown
}

let server: TestServer
let attacker: string
let victim: string
async function begin(env: Record<string, string>): Promise<void> {
  server = await startTestServer(env)
  attacker = await server.token(randomUUID())
  victim = await server.token('victim')
  await server.createBucket('shared', { policy: 'authenticated' })
  await server.createBucket('vault')
  await server.createBucket('bare')
  await server.admin.unsafe(`
    update storage.buckets set owner_id = 'victim' where id in ('vault', 'bare');
    create policy "a folder each" on storage.objects as restrictive to authenticated
      using (bucket_id <> 'shared' or (storage.foldername(name))[1] is distinct from 'victim'
        or auth.jwt() ->> 'sub' = 'victim')`)
  for (const path of ['vault/secret.txt', 'shared/victim/secret.txt', 'shared/notice.txt']) {
    const stored = await server.request('POST', `/object/${path}`, { token: victim, body: 'secret' })
    expect(stored.status).toBeLessThan(300)
  }
}

/** Without what names the request. */
async function ask(method: string, path: string, body?: object): Promise<Answer> {
  const response = await server.request(method, path, { token: attacker, ...(body && { body }) })
  const text = await response.text()
  return { status: response.status, body: text && JSON.parse(text) }
}

const moving = (how: 'move' | 'copy', bucketId: string, sourceKey: string) =>
  ask('POST', `/object/${how}`, {
    bucketId,
    sourceKey,
    destinationKey: 'mine.txt',
    destinationBucket: 'shared',
  })

/** Each way to change a thing of that name. */
const OBJECT_QUESTIONS: Record<string, (bucket: string, name: string) => Promise<Answer>> = {
  read: (bucket, name) => ask('GET', `/object/${bucket}/${name}`),
  delete: (bucket, name) => ask('DELETE', `/object/${bucket}/${name}`),
  'delete many': (bucket, name) => ask('DELETE', `/object/${bucket}`, { prefixes: [name] }),
  move: (bucket, name) => moving('move', bucket, name),
  copy: (bucket, name) => moving('copy', bucket, name),
  sign: (bucket, name) => ask('POST', `/object/sign/${bucket}/${name}`, { expiresIn: 60 }),
}

async function expectUntouched(): Promise<void> {
  for (const path of ['vault/secret.txt', 'shared/victim/secret.txt', 'shared/notice.txt']) {
    const read = await server.request('GET', `/object/${path}`, { token: victim })
    expect([read.status, await read.text()]).toEqual([200, 'secret'])
  }
  const buckets = await server.admin`select id from storage.buckets order by id`
  expect(buckets.map(({ id }) => id)).toEqual(['bare', 'shared', 'vault'])
}

describe('by default', () => {
  beforeAll(() => begin({}))
  afterAll(() => server.close())

  it.each(Object.keys(OBJECT_QUESTIONS))(
    '%s: what is hidden is answered as what is not there',
    async (how) => {
      const question = OBJECT_QUESTIONS[how] as (bucket: string, name: string) => Promise<Answer>
      const hidden = await question('shared', 'victim/secret.txt')
      expect(hidden).toEqual(await question('shared', 'victim/absent.txt'))
      expect(await question('vault', 'secret.txt')).toEqual(await question('vault', 'absent.txt'))
      expect(hidden.status).toBe(how === 'delete many' ? 200 : 404)
      await expectUntouched()
    },
  )

  it('a bucket that is hidden is answered as one that is not there, whether it is empty or not', async () => {
    for (const [method, body] of [['GET'], ['DELETE'], ['PUT', { public: true }]] as const) {
      const absent = await ask(method, '/bucket/absent', body)
      expect(absent.status).toBe(404)
      expect(await ask(method, '/bucket/vault', body)).toEqual(absent)
      expect(await ask(method, '/bucket/bare', body)).toEqual(absent)
    }
    await expectUntouched()
  })

  it('what is seen and may not be changed is 403, and stays', async () => {
    expect((await ask('DELETE', '/object/shared/notice.txt')).status).toBe(403)
    expect((await moving('move', 'shared', 'notice.txt')).status).toBe(403)
    expect(await ask('DELETE', '/object/shared', { prefixes: ['notice.txt'] })).toEqual({
      status: 200,
      body: [],
    })
    expect((await ask('DELETE', '/bucket/shared')).status).toBe(403)
    expect((await ask('PUT', '/bucket/shared', { public: true })).status).toBe(403)
    await expectUntouched()
  })

  it('an upload that is refused is 403, whether the object is there or not', async () => {
    for (const method of ['POST', 'PUT']) {
      const hidden = await server.request(method, '/object/vault/secret.txt', { token: attacker, body: 'x' })
      const absent = await server.request(method, '/object/vault/absent.txt', { token: attacker, body: 'x' })
      expect([hidden.status, absent.status]).toEqual([403, 403])
      expect(await hidden.json()).toEqual(await absent.json())
    }
    await expectUntouched()
  })

  it('an owner hears what keeps his bucket', async () => {
    const kept = await server.request('DELETE', '/bucket/vault', { token: victim })
    expect([kept.status, await kept.json()]).toMatchObject([409, { code: 'ResourceNotEmpty' }])
    await expectUntouched()
  })
})

describe('in compat mode', () => {
  beforeAll(() => begin({ STORAGE_COMPAT: 'supabase' }))
  afterAll(() => server.close())

  it.each([
    // wire §3.8
    ['DELETE', '/object/shared/victim/secret.txt', '403', 'AccessDenied'],
    ['DELETE', '/object/shared/victim/absent.txt', '404', 'NoSuchKey'],
    // wire §2.3
    ['DELETE', '/bucket/vault', '409', 'ResourceNotEmpty'],
    ['DELETE', '/bucket/bare', '404', 'NoSuchBucket'],
    ['DELETE', '/bucket/absent', '404', 'NoSuchBucket'],
  ])('%s %s is answered as by Supabase: %s %s', async (method, path, statusCode, code) => {
    expect(await ask(method, path)).toMatchObject({ status: 400, body: { statusCode, code } })
    await expectUntouched()
  })

  it('a move and a copy of what is hidden find nothing', async () => {
    for (const how of ['move', 'copy'] as const) {
      expect(await moving(how, 'shared', 'victim/secret.txt')).toMatchObject({ body: { code: 'NoSuchKey' } })
    }
    await expectUntouched()
  })
})
