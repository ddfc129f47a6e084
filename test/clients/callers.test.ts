import { StorageClient } from '@supabase/storage-js'
import { expect, it } from 'vitest'
import { describeClientInBothModes, ok, refused, textOf } from './describe-client.ts'

describeClientInBothModes((clients) => {
  const denied = clients.refusal(403, 'new row violates row-level security policy')
  const notFound = clients.refusal(404, 'Object not found')

  it('lets everybody read a public bucket and only its owner or the service write', async () => {
    const bucket = await clients.bucket({ public: true })
    ok(await clients.service.from(bucket).upload('a.txt', 'open'))
    const before = await clients.stored()

    for (const client of [clients.anonymous, clients.user('somebody')]) {
      const of = client.from(bucket)
      expect(await textOf(of, 'a.txt')).toBe('open')
      expect((await of.exists('a.txt')).data).toBe(true)
      expect(ok(await of.info('a.txt')).size).toBe(4)
      expect(refused(await of.upload('b.txt', 'x'))).toEqual(denied)
      expect(refused(await of.upload('b.txt', new Blob(['x'])))).toEqual(denied)
      expect(refused(await of.update('a.txt', 'x'))).toEqual(denied)
      expect(ok(await of.remove(['a.txt']))).toEqual([])
    }
    expect(await textOf(clients.service.from(bucket), 'a.txt')).toBe('open')
    expect(await clients.stored()).toEqual(before)
  })

  it('shows nothing of a private bucket to anybody but the service', async () => {
    const bucket = await clients.bucket()
    ok(await clients.service.from(bucket).upload('a.txt', 'secret'))

    for (const client of [clients.anonymous, clients.user('somebody')]) {
      const of = client.from(bucket)
      expect(refused(await of.download('a.txt'))).toEqual(notFound)
      expect(refused(await of.info('a.txt'))).toEqual(notFound)
      expect((await of.exists('a.txt')).data).toBe(false)
      expect(refused(await of.upload('a.txt', 'x'))).toEqual(denied)
      expect(refused(await client.getBucket(bucket))).toEqual(clients.refusal(404, 'Bucket not found'))
    }
  })

  it('lets signed-in users of an authenticated bucket read all, and change what is theirs', async () => {
    const bucket = await clients.bucket({ policy: 'authenticated' })
    const ann = clients.user('ann').from(bucket)
    const bob = clients.user('bob').from(bucket)
    ok(await ann.upload('ann.txt', "Ann's"))

    expect(await textOf(bob, 'ann.txt')).toBe("Ann's")
    expect(refused(await bob.update('ann.txt', "Bob's"))).toEqual(denied)
    expect(refused(await bob.move('ann.txt', 'bob.txt')).statusCode).toBe('403')
    expect(ok(await bob.remove(['ann.txt']))).toEqual([])
    expect(refused(await clients.anonymous.from(bucket).download('ann.txt'))).toEqual(notFound)
    expect(await textOf(ann, 'ann.txt')).toBe("Ann's")

    ok(await ann.update('ann.txt', 'changed'))
    ok(await ann.move('ann.txt', 'moved.txt'))
    expect(ok(await ann.remove(['moved.txt']))).toMatchObject([{ name: 'moved.txt', owner_id: 'ann' }])
  })

  it('knows a user by an authorization header of the app too', async () => {
    const bucket = await clients.bucket({ policy: 'authenticated' })
    const authorization = `Bearer ${await clients.server.token('ann')}`

    ok(await clients.withHeaders({ authorization }).from(bucket).upload('a.txt', 'x'))

    const rows = await clients.server.admin`select owner_id from storage.objects where bucket_id = ${bucket}`
    expect(rows).toEqual([{ owner_id: 'ann' }])
  })

  it.each([
    ['an authorization header', (key: string) => ({ Authorization: `Bearer ${key}` })],
    ['a bare token', (key: string) => ({ authorization: key })],
    ['an apikey header alone', (key: string) => ({ apikey: key })],
  ])('serves storage-js by itself, with %s', async (_what, headers) => {
    const client = new StorageClient(clients.url, headers(clients.server.keys.serviceKey))
    const bucket = await clients.bucket()

    ok(await client.from(bucket).upload('a.txt', 'x'))

    expect(await textOf(client.from(bucket), 'a.txt')).toBe('x')
    expect(ok(await client.getBucket(bucket)).id).toBe(bucket)
  })

  it('serves storage-js without the /storage/v1 that a gateway would take away', async () => {
    const client = new StorageClient(clients.server.url, { apikey: clients.server.keys.serviceKey })
    const of = client.from(await clients.bucket())

    ok(await of.upload('a.txt', 'x'))

    expect(await textOf(of, 'a.txt')).toBe('x')
    expect(await (await fetch(ok(await of.createSignedUrl('a.txt', 60)).signedUrl)).text()).toBe('x')
  })

  it('takes the identity from a header set later', async () => {
    const bucket = await clients.bucket()
    const client = new StorageClient(clients.url)
    const of = client.from(bucket)
    of.setHeader('authorization', `Bearer ${clients.server.keys.serviceKey}`)

    ok(await of.upload('a.txt', 'x'))

    expect(refused(await client.from(bucket).upload('b.txt', 'x')).statusCode).toMatch(/^40[01]$/)
  })

  it('asks a client without any key to authenticate, and shows it public objects alone', async () => {
    const client = new StorageClient(clients.url)
    const open = await clients.bucket({ public: true })
    const closed = await clients.bucket()
    for (const bucket of [open, closed]) ok(await clients.service.from(bucket).upload('a.txt', 'x'))
    const before = await clients.stored()
    const who = clients.isSupabase
      ? { status: 400, statusCode: '400', message: "headers must have required property 'authorization'" }
      : { status: 401, statusCode: '401' }

    expect(refused(await client.listBuckets())).toMatchObject(who)
    expect(refused(await client.from(open).upload('b.txt', 'x'))).toMatchObject(who)
    expect(refused(await client.from(open).list())).toMatchObject(who)
    expect(refused(await client.from(open).remove(['a.txt']))).toMatchObject(who)
    expect(await textOf(client.from(open), 'a.txt')).toBe('x')
    const hidden = clients.refusal(404, 'Bucket not found')
    expect(refused(await client.from(closed).download('a.txt'))).toEqual(hidden)
    expect(refused(await client.from(closed).info('a.txt'))).toEqual(hidden)
    expect(await clients.stored()).toEqual(before)
  })

  it('refuses a session that has expired, and says so', async () => {
    const bucket = await clients.bucket({ policy: 'authenticated' })
    const of = clients.user('ann', -60).from(bucket)
    const refusal = {
      status: clients.isSupabase ? 400 : 401,
      statusCode: clients.isSupabase ? '403' : '401',
      message: '"exp" claim timestamp check failed',
    }

    expect(refused(await of.upload('a.txt', 'x'))).toEqual(refusal)
    expect(refused(await of.list())).toEqual(refusal)
    expect(ok(await clients.service.from(bucket).list())).toEqual([])
  })

  it('refuses a token signed by somebody else', async () => {
    const forged = clients.server.keys.serviceKey.replace(/[^.]+$/, 'A'.repeat(43))
    const client = new StorageClient(clients.url, { authorization: `Bearer ${forged}` })

    expect(refused(await client.listBuckets())).toEqual({
      status: clients.isSupabase ? 400 : 401,
      statusCode: clients.isSupabase ? '403' : '401',
      message: 'signature verification failed',
    })
  })
})
