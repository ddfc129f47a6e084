import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mintToken } from '../../src/server/keys.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

/** Who may see, make, change and delete buckets themselves (design §4, wire §2.3). */

let server: TestServer
/** Not a UUID: any text may be a subject. */
const owner = 'auth0|Ünser-owner'
const tokens: Record<string, string | null> = {}

beforeAll(async () => {
  server = await startTestServer({ STORAGE_USER_BUCKETS: 'true' })
  Object.assign(tokens, {
    nobody: null,
    anonKey: server.keys.anonKey,
    stranger: await server.token(randomUUID()),
    owner: await server.token(owner),
    service: server.keys.serviceKey,
  })
})
afterAll(() => server.close())

describe('making a bucket', () => {
  it('makes the signed-in user who makes it its owner', async () => {
    const name = await ownBucket('private')
    expect(await bucketRow(name)).toMatchObject({ owner_id: owner, owner: null, policy: 'private' })
    const subject = randomUUID()
    const token = await server.token(subject)
    await server.request('POST', '/storage/v1/bucket', { token, body: { name: `${name}-2` } })
    expect(await bucketRow(`${name}-2`)).toMatchObject({ owner_id: subject, owner: subject })
  })

  it('gives a bucket of the service no owner', async () => {
    const name = newName()
    await server.createBucket(name, { policy: 'public' })
    expect(await bucketRow(name)).toMatchObject({ owner_id: null, owner: null, public: true })
  })

  it.each([
    ['nobody', 401],
    ['anonKey', 403],
  ])('is refused to %s with %i', async (who, status) => {
    const name = newName()
    expect((await ask(who, 'POST', '', { name })).status).toBe(status)
    expect(await bucketRow(name)).toBeUndefined()
  })

  it('is refused to a token whose role is authenticated but that names no user', async () => {
    const name = newName()
    const token = await mintToken(server.keys.jwtSecret, { role: 'authenticated' })
    const response = await server.request('POST', '/storage/v1/bucket', { token, body: { name } })
    expect(response.status).toBe(403)
    expect(await bucketRow(name)).toBeUndefined()
  })

  it('answers 409 when the name is taken, whoever owns it and though the asker cannot see it', async () => {
    const name = await ownBucket('private')
    expect((await ask('stranger', 'POST', '', { name })).status).toBe(409)
    expect(await bucketRow(name)).toMatchObject({ owner_id: owner })
  })

  it('is refused to users unless STORAGE_USER_BUCKETS allows it, also when they set that setting themselves', async () => {
    const strict = await startTestServer()
    try {
      for (const role of ['authenticated', 'anon']) {
        const response = await strict.request('POST', '/storage/v1/bucket', {
          token: await strict.token(randomUUID(), role),
          headers: { 'storage.user_buckets': 'true' },
          body: { name: 'mine' },
        })
        expect(response.status).toBe(403)
        expect(await response.json()).toMatchObject({
          code: 'AccessDenied',
          message: 'new row violates row-level security policy',
        })
      }
      expect(await strict.admin`select id from storage.buckets`).toEqual([])
      await strict.createBucket('systems-own')
    } finally {
      await strict.close()
    }
  })
})

describe.each([
  { policy: 'private', seenBy: ['owner', 'service'] },
  { policy: 'authenticated', seenBy: ['stranger', 'owner', 'service'] },
  { policy: 'public', seenBy: ['anonKey', 'stranger', 'owner', 'service'] },
])('an owned bucket of policy $policy', ({ policy, seenBy }) => {
  it.each(['anonKey', 'stranger', 'owner', 'service'])('is shown or hidden rightly: %s', async (who) => {
    const name = await ownBucket(policy)
    const sees = seenBy.includes(who)
    const one = await ask(who, 'GET', `/${name}`)
    expect(one.status).toBe(sees ? 200 : 404)
    expect(one.body.code).toBe(sees ? undefined : 'NoSuchBucket')
    const list = await ask(who, 'GET', `?search=${name}`)
    expect(list.status).toBe(200)
    expect(list.body).toHaveLength(sees ? 1 : 0)
  })

  it('is shown to nobody without a token', async () => {
    const name = await ownBucket(policy)
    expect((await ask('nobody', 'GET', `/${name}`)).status).toBe(401)
    expect((await ask('nobody', 'GET', '')).status).toBe(401)
  })

  it.each(['owner', 'service'])('is changed and deleted by %s', async (who) => {
    const name = await ownBucket(policy)
    expect((await ask(who, 'PUT', `/${name}`, { file_size_limit: 7 })).status).toBe(200)
    expect(await bucketRow(name)).toMatchObject({ file_size_limit: '7', policy, owner_id: owner })
    expect((await ask(who, 'DELETE', `/${name}`)).status).toBe(200)
    expect(await bucketRow(name)).toBeUndefined()
  })

  it.each(['nobody', 'anonKey', 'stranger'])('is neither changed nor deleted by %s', async (who) => {
    const name = await ownBucket(policy)
    const before = await bucketRow(name)
    const refusal = who === 'nobody' ? 401 : seenBy.includes(who) ? 403 : 404
    expect((await ask(who, 'PUT', `/${name}`, { public: true })).status).toBe(refusal)
    expect((await ask(who, 'PATCH', `/${name}`, { policy: 'public' })).status).toBe(refusal)
    expect((await ask(who, 'DELETE', `/${name}`)).status).toBe(refusal)
    expect(await bucketRow(name)).toEqual(before)
  })

  it('is emptied by the service alone', async () => {
    const name = await ownBucket(policy)
    await server.request('POST', `/storage/v1/object/${name}/kept`, { body: 'kept' })
    for (const who of ['anonKey', 'stranger', 'owner']) {
      expect((await ask(who, 'POST', `/${name}/empty`)).status).toBe(403)
    }
    expect(await objectNames(name)).toEqual(['kept'])
    expect((await ask('service', 'POST', `/${name}/empty`)).status).toBe(200)
    expect(await objectNames(name)).toEqual([])
  })
})

describe('a bucket without owner', () => {
  it.each(['private', 'authenticated', 'public'])(
    'of policy %s is changed by no user, not even one without a subject',
    async (policy) => {
      const name = newName()
      await server.createBucket(name, { policy })
      for (const who of ['anonKey', 'stranger', 'owner']) {
        expect((await ask(who, 'PUT', `/${name}`, { file_size_limit: 1 })).status).toBeGreaterThan(400)
        const isSeen = policy === 'public' || (policy === 'authenticated' && who !== 'anonKey')
        expect((await ask(who, 'DELETE', `/${name}`)).status).toBe(isSeen ? 403 : 404)
      }
      expect(await bucketRow(name)).toMatchObject({ file_size_limit: null, owner_id: null })
    },
  )
})

describe('a change of a bucket’s policy', () => {
  it('holds for the very next request', async () => {
    const name = await ownBucket('private')
    await server.request('POST', `/storage/v1/object/${name}/a`, { body: 'a' })
    const read = async () => (await server.request('GET', `/object/public/${name}/a`, { token: null })).status
    expect(await read()).toBe(404)
    await ask('owner', 'PUT', `/${name}`, { policy: 'public' })
    expect(await read()).toBe(200)
    await ask('owner', 'PUT', `/${name}`, { public: false })
    expect(await read()).toBe(404)
    // Another server, or a person with SQL, counts the same.
    await server.admin`update storage.buckets set public = true where id = ${name}`
    expect(await read()).toBe(200)
  })
})

describe('an owner', () => {
  it('does not delete a bucket with objects in it', async () => {
    const name = await ownBucket('private')
    await server.request('POST', `/storage/v1/object/${name}/a`, { body: 'a' })
    const refused = await ask('owner', 'DELETE', `/${name}`)
    expect([refused.status, refused.body.code]).toEqual([409, 'ResourceNotEmpty'])
    expect(await objectNames(name)).toEqual(['a'])
  })

  it.each(['move', 'copy'])('cannot %s an object into somebody else’s bucket', async (how) => {
    const mine = await ownBucket('private')
    const theirs = newName()
    await server.createBucket(theirs, { policy: 'public' })
    await server.request('POST', `/storage/v1/object/${mine}/a`, { body: 'a' })
    const body = { bucketId: mine, destinationBucket: theirs, sourceKey: 'a', destinationKey: 'b' }
    const response = await server.request('POST', `/storage/v1/object/${how}`, {
      token: tokens.owner ?? null,
      body,
    })
    expect(response.status).toBe(403)
    expect([await objectNames(mine), await objectNames(theirs)]).toEqual([['a'], []])
  })

  it('has no say in a bucket that another user makes again under the same name', async () => {
    const name = await ownBucket('private')
    await ask('owner', 'DELETE', `/${name}`)
    await ask('stranger', 'POST', '', { name })
    await server.request('POST', `/storage/v1/object/${name}/a`, { body: 'a' })
    expect((await ask('owner', 'GET', `/${name}`)).status).toBe(404)
    const read = await server.request('GET', `/storage/v1/object/${name}/a`, { token: tokens.owner ?? null })
    expect(read.status).toBe(404)
  })
})

describe('a user with SQL of their own, as PostgREST gives it', () => {
  const me = randomUUID()
  const asMe = (statement: string) =>
    server.admin.begin(async (sql) => {
      await sql`select set_config('request.jwt.claims', ${JSON.stringify({ sub: me, role: 'authenticated' })}, true)`
      await sql`set local role authenticated`
      return sql.unsafe(statement)
    })
  const refusal = { code: '42501', message: expect.stringContaining('row-level security') }

  it('can neither upload in another’s name nor give an object away', async () => {
    const name = newName()
    await server.createBucket(name, { policy: 'authenticated' })
    const insert = (owner: string) =>
      asMe(
        `insert into storage.objects (bucket_id, name, owner_id) values ('${name}', 'of ${owner}', '${owner}')`,
      )
    await insert(me)
    await expect(insert('another')).rejects.toMatchObject(refusal)
    await expect(asMe(`update storage.objects set owner_id = 'another'`)).rejects.toMatchObject(refusal)
    await expect(asMe(`update storage.objects set owner_id = null`)).rejects.toMatchObject(refusal)
    expect(await objectNames(name)).toEqual([`of ${me}`])
  })

  it('can neither make a bucket, nor give one away, nor take one', async () => {
    const name = newName()
    const token = await server.token(me)
    // Public, so that it would stay visible in other hands.
    const body = { name, policy: 'public' }
    expect((await server.request('POST', '/bucket', { token, body })).status).toBe(201)
    const insert = `insert into storage.buckets (id, name, owner_id) values ('${name}-2', '${name}-2', '${me}')`
    await expect(asMe(insert)).rejects.toMatchObject(refusal) // STORAGE_USER_BUCKETS is the API's to say
    const give = asMe(`update storage.buckets set owner_id = 'another' where id = '${name}'`)
    await expect(give).rejects.toMatchObject(refusal)
    const theirs = await ownBucket('public')
    expect(
      await asMe(`update storage.buckets set owner_id = '${me}' where id = '${theirs}' returning id`),
    ).toEqual([])
    expect([await bucketRow(name), await bucketRow(theirs)]).toMatchObject([
      { owner_id: me },
      { owner_id: owner },
    ])
  })
})

async function ask(who: string, method: string, path: string, body?: object) {
  const response = await server.request(method, `/storage/v1/bucket${path}`, {
    token: tokens[who] ?? null,
    ...(body && { body }),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

async function ownBucket(policy: string): Promise<string> {
  const name = newName()
  expect((await ask('owner', 'POST', '', { name, policy })).status).toBe(201)
  return name
}

function newName(): string {
  return `b-${randomUUID()}`
}

async function bucketRow(id: string) {
  const [row] = await server.admin`select * from storage.buckets where id = ${id}`
  return row
}

async function objectNames(bucket: string): Promise<string[]> {
  const rows = await server.admin<{ name: string }[]>`
    select name from storage.objects where bucket_id = ${bucket} order by name`
  return rows.map((row) => row.name)
}
