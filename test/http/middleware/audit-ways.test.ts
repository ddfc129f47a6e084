import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Session } from '../../../src/database/connection/session.ts'
import { takeTurn } from '../../../src/database/connection/turns.ts'
import { AuditTrail, object } from '../../support/audit-trail.ts'
import { signedForm } from '../../support/s3-form.ts'
import { PAIR, type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { open, put } from '../../support/signed.ts'
import { TusRequests } from '../../support/tus-requests.ts'

// Each way in by which something is done, and what the audit log has of it (docs/audit.md).

let server: S3TestServer
let trail: AuditTrail
let user: string
beforeAll(async () => {
  server = await startS3Server({ STORAGE_AUDIT: 'all' })
  trail = new AuditTrail(server)
  await server.createBucket('docs', { policy: 'authenticated' })
  user = await server.token('user-1')
})
afterEach(() => trail.check())
afterAll(() => server.close())

const mine = { bucket: 'docs', user_id: 'user-1', role: 'authenticated' }
/** Whoever has a link of that user's. */
const byLink = { ...mine, role: 'anon', via: 'signed' }
const FILE_ID = { file_id: expect.stringMatching(/^[0-9a-f-]{36}$/) }

/** A form as supabase-js sends a file. */
function formOf(text: string): FormData {
  const form = new FormData()
  form.append('cacheControl', '3600')
  form.append('', new Blob([text]), 'a file.txt')
  return form
}

describe('forms', () => {
  it('are uploads, whoever sends them, and whether or not they are taken', async () => {
    const send = (method: string, path: string, text: string, token = user) =>
      trail.done(method, `/object/docs/${path}`, { token, body: formOf(text) })
    trail.expect(await send('POST', 'form.txt', 'hello')).toMatchObject([
      object({
        ...mine,
        ...FILE_ID,
        action: 'upload',
        path: 'form.txt',
        bytes: 5,
        status: 201,
        via: 'token',
      }),
    ])
    trail
      .expect(await send('PUT', 'form.txt', 'longer'))
      .toMatchObject([object({ ...mine, ...FILE_ID, action: 'update', path: 'form.txt', bytes: 6 })])
    trail
      .expect(await send('POST', 'form.txt', 'again'))
      .toMatchObject([{ ...mine, action: 'upload', path: 'form.txt', status: 409, file_id: null }])
    trail
      .expect(await send('POST', 'anonymous.txt', 'x', server.keys.anonKey))
      .toMatchObject([{ action: 'upload', role: 'anon', allowed: false, status: 403, path: 'anonymous.txt' }])
  })

  it('that a browser sends by a signed URL are its signer’s', async () => {
    const signed = await server.request('POST', '/object/upload/sign/docs/by-link.txt', { token: user })
    const { url } = (await signed.json()) as { url: string }
    const send = () => trail.done('PUT', url, { token: null, body: formOf('hello') })
    trail
      .expect(await send())
      .toMatchObject([object({ ...byLink, ...FILE_ID, action: 'upload', path: 'by-link.txt', bytes: 5 })])
    trail.expect(await send()).toMatchObject([{ action: 'upload', path: 'by-link.txt', status: 409 }])
  })

  it('of S3 are by the access key that has signed their policy', async () => {
    const send = async (fields: Record<string, string>, secret = PAIR.secretAccessKey) => {
      const id = randomUUID()
      const body = signedForm(fields, { bucket: 'docs', keys: { ...PAIR, secretAccessKey: secret } })
      body.append('file', new Blob(['hello']), 'a file.txt')
      await open(server, `${server.endpoint}/docs`, {
        method: 'POST',
        body,
        headers: { 'x-request-id': id },
      }).catch(
        () => {}, // which is no JSON
      )
      return id
    }
    const signed = { via: 'signed', bucket: 'docs', path: 'post.txt', action: 'upload' }
    trail.expect(await send({ key: 'post.txt' })).toMatchObject([
      object({
        ...signed,
        ...FILE_ID,
        credential: PAIR.accessKeyId,
        role: 'service_role',
        bytes: 5,
        status: 204,
      }),
    ])
    trail
      .expect(await send({ key: 'post.txt' }, 'a guess'))
      .toMatchObject([
        { action: 'upload', via: 'signed', allowed: false, status: 403, user_id: null, role: null },
      ])
  })
})

describe('versions', () => {
  const bucket = 'with-versions'
  const versionOf = async (name: string) =>
    String(Object(await (await server.request('GET', `/object/info/${bucket}/${name}`)).json()).version)
  /** In the order of the log's entries. */
  async function uploaded(name: string, ...texts: string[]): Promise<string[]> {
    const versions: string[] = []
    for (const text of texts) {
      await put(server, `${bucket}/${name}`, text)
      versions.push(await versionOf(name))
    }
    return versions.sort()
  }
  const deleted = (resource_id: string | null | undefined, status: number) =>
    expect.objectContaining({ action: 'delete', bucket, path: 'a', resource_id, status })
  beforeAll(() => server.createBucket(bucket, { object_lock: true }))

  it('that are deleted by S3 have an entry each, with what has become of each', async () => {
    const versions = await uploaded('a', 'one', 'two', 'three')
    const [first, second, third] = versions
    await server.request('PUT', `/lock/${bucket}/a?versionId=${second}`, { body: { legal_hold: true } })
    const entry = (id: string | undefined) => `<Object><Key>a</Key><VersionId>${id}</VersionId></Object>`
    const body = `<Delete>${[...versions, first].map(entry).join('')}<Object><Key>a</Key></Object></Delete>`
    trail
      .expect((await trail.s3('POST', `/${bucket}?delete`, { body })).id)
      .toEqual([deleted(first, 204), deleted(second, 409), deleted(third, 204), deleted(null, 204)])
    const [one] = await uploaded('a', 'one')
    trail.expect((await trail.s3('DELETE', `/${bucket}/a?versionId=${one}`)).id).toEqual([deleted(one, 204)])
    const none = randomUUID()
    trail
      .expect((await trail.s3('DELETE', `/${bucket}/a?versionId=${none}`)).id)
      .toEqual([deleted(none, 404)])
  })

  it('that are deleted by REST have an entry each, with what has become of each', async () => {
    const versions = await uploaded('a', 'one', 'two', 'three')
    const [first, second, third] = versions
    await server.request('PUT', `/lock/${bucket}/a?versionId=${second}`, { body: { legal_hold: true } })
    const prefixes = ['a', ...[...versions, first].map((versionId) => ({ path: 'a', versionId }))]
    trail
      .expect(await trail.done('DELETE', `/object/${bucket}`, { body: { prefixes } }))
      .toEqual([deleted(first, 200), deleted(second, 409), deleted(third, 200), deleted(null, 200)])
    const [one] = await uploaded('a', 'one')
    const alone = () => trail.done('DELETE', `/object/${bucket}/a?versionId=${one}`)
    trail.expect(await alone()).toEqual([deleted(one, 204)])
    trail.expect(await alone()).toEqual([deleted(one, 404)])
  })

  it('that are locked are named, also where only their object is', async () => {
    const [one] = await uploaded('b', 'one')
    const locked = { action: 'lock', path: 'b', resource_id: one, status: 200 }
    const held = { body: { legal_hold: true } }
    trail.expect(await trail.done('PUT', `/lock/${bucket}/b`, held)).toMatchObject([object(locked)])
    const hold = { body: '<LegalHold><Status>ON</Status></LegalHold>' }
    trail.expect((await trail.s3('PUT', `/${bucket}/b?legal-hold`, hold)).id).toMatchObject([object(locked)])
    const until = new Date(Date.now() + 86_400_000).toISOString()
    const retention = `<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>${until}</RetainUntilDate></Retention>`
    trail
      .expect((await trail.s3('PUT', `/${bucket}/b?retention`, { body: retention })).id)
      .toMatchObject([object(locked)])
    const none = randomUUID()
    trail
      .expect(await trail.done('PUT', `/lock/${bucket}/b?versionId=${none}`, held))
      .toMatchObject([{ ...locked, resource_id: none, status: 404 }])
  })
})

describe('resumable uploads', () => {
  it('by a signed URL are its signer’s, and have one entry, with all their bytes', async () => {
    const signed = await server.request('POST', '/object/upload/sign/docs/tus-link.bin', { token: user })
    const { token } = (await signed.json()) as { token: string }
    const tus = new TusRequests(
      server,
      { token: null, headers: { 'x-signature': token } },
      '/storage/v1/upload/resumable/sign',
    )
    const ids = [randomUUID(), randomUUID()] as const
    const at = { bucket: 'docs', name: 'tus-link.bin' }
    const url = await tus.begin(at, 10, { body: '12345', headers: { 'x-request-id': ids[0] } })
    expect((await tus.patch(url, 5, '67890', { headers: { 'x-request-id': ids[1] } })).status).toBe(204)
    trail.expect(ids[0]).toEqual([])
    trail
      .expect(ids[1])
      .toMatchObject([object({ ...byLink, ...FILE_ID, action: 'upload', path: at.name, bytes: 10 })])
    const forged = randomUUID()
    const headers = { 'x-signature': `${token}x`, 'x-request-id': forged }
    expect((await tus.create(at, 10, { headers })).status).toBe(400)
    trail.expect(forged).toMatchObject([{ action: 'upload', via: 'signed', user_id: null, allowed: false }])
  })

  it('that come with their creation have one entry, and say if they have replaced something', async () => {
    const tus = new TusRequests(server, { token: user })
    const send = async (upsert: boolean) => {
      const id = randomUUID()
      const headers = { 'x-request-id': id, ...(upsert && { 'x-upsert': 'true' }) }
      await tus.create({ bucket: 'docs', name: 'at-once.bin' }, 5, { body: '12345', headers })
      return id
    }
    const one = { ...mine, ...FILE_ID, path: 'at-once.bin', bytes: 5, status: 201 }
    trail.expect(await send(false)).toMatchObject([object({ ...one, action: 'upload' })])
    trail.expect(await send(true)).toMatchObject([object({ ...one, action: 'update' })])
  })
})

describe('S3 clients', () => {
  const key = { via: 'key', credential: PAIR.accessKeyId, role: 'service_role', bucket: 'docs' }

  it('rename, tag and delete', async () => {
    await put(server, 'docs/s3/before.txt', 'hello')
    const renaming = { headers: { 'x-amz-rename-source': '/docs/s3/before.txt' } }
    trail
      .expect((await trail.s3('PUT', '/docs/s3/after.txt?renameObject', renaming)).id)
      .toMatchObject([
        object({ ...key, ...FILE_ID, action: 'move', path: 's3/before.txt', target: 'docs/s3/after.txt' }),
      ])
    const tags = { body: '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>' }
    const after = { ...key, path: 's3/after.txt' }
    trail
      .expect((await trail.s3('PUT', '/docs/s3/after.txt?tagging', tags)).id)
      .toMatchObject([object({ ...after, action: 'update', status: 200 })])
    trail
      .expect((await trail.s3('DELETE', '/docs/s3/after.txt?tagging')).id)
      .toMatchObject([object({ ...after, action: 'update', status: 204 })])
    trail
      .expect((await trail.s3('DELETE', '/docs/s3/after.txt')).id)
      .toMatchObject([object({ ...after, ...FILE_ID, action: 'delete', status: 204 })])
  })

  it('in a user’s session are that user', async () => {
    const signing = await server.session('user-1')
    trail
      .expect((await trail.s3('PUT', '/docs/s3/mine.txt', { body: 'mine', signing })).id)
      .toMatchObject([object({ ...mine, ...FILE_ID, action: 'upload', path: 's3/mine.txt' })])
    const forged = { ...signing, secretAccessKey: 'a guess' }
    trail
      .expect((await trail.s3('PUT', '/docs/s3/mine.txt', { body: 'x', signing: forged })).id)
      .toMatchObject([{ action: 'upload', allowed: false, status: 403, user_id: null }])
  })

  it('make buckets, change who may read them, and delete them', async () => {
    const bucket = { ...key, resource_type: 'bucket', resource_id: 's3-made', bucket: 's3-made', path: null }
    trail.expect((await trail.s3('PUT', '/s3-made')).id).toMatchObject([{ ...bucket, action: 'create' }])
    const acl = { headers: { 'x-amz-acl': 'public-read' } }
    trail
      .expect((await trail.s3('PUT', '/s3-made?acl', acl)).id)
      .toMatchObject([{ ...bucket, action: 'update' }])
    trail.expect((await trail.s3('DELETE', '/s3-made')).id).toMatchObject([{ ...bucket, action: 'delete' }])
  })
})

/* Nobody makes them: this test has their turn. */
describe('backups', () => {
  let turn: Session
  beforeAll(async () => {
    turn = await server.database.openSession()
    expect(await takeTurn(turn.sql, 'backup')).toBe(true)
  })
  afterAll(async () => {
    await server.admin`delete from storage.backup_jobs`
    await turn.close()
  })

  it('are asked for, looked at, restored and deleted by the service, and by nobody else', async () => {
    const backup = { resource_type: 'backup', role: 'service_role', allowed: true }
    const [made] = await trail.entriesOf(await trail.done('POST', '/backup', { body: {} }))
    expect(made).toMatchObject({ ...backup, action: 'create', status: 202, resource_id: expect.any(String) })
    const id = String(made?.resource_id)
    const of = { ...backup, resource_id: id }
    trail.expect(await trail.done('GET', '/backup')).toMatchObject([{ ...backup, action: 'read' }])
    trail.expect(await trail.done('GET', `/backup/${id}`)).toMatchObject([{ ...of, action: 'read' }])
    trail
      .expect(await trail.done('POST', `/backup/${id}/restore`, { body: {} }))
      .toMatchObject([{ ...of, action: 'restore', status: 409 }])
    await server.admin`update storage.backup_jobs set status = 'completed' where id = ${id}`
    trail
      .expect(await trail.done('POST', `/backup/${id}/restore`, { body: {} }))
      .toMatchObject([{ ...of, action: 'restore', status: 202 }])
    await server.admin`update storage.backup_jobs set status = 'completed'`
    trail
      .expect(await trail.done('DELETE', `/backup/${id}`))
      .toMatchObject([{ ...of, action: 'delete', status: 204 }])
    trail
      .expect(await trail.done('POST', '/backup', { token: user, body: {} }))
      .toMatchObject([
        { resource_type: 'backup', action: 'create', allowed: false, status: 403, user_id: 'user-1' },
      ])
  })
})
