import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { makeName, parsePathTemplate } from '../../../src/storage/object/made-name.ts'
import { field, file, form, MULTIPART } from '../../support/multipart.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

/** Uploads under names that the server makes, and those that are sent again (docs/attributes.md, decision 0073). */

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { policy: 'authenticated' })
})
afterAll(() => server.close())

type Init = Parameters<TestServer['request']>[2]
type Json = Record<string, unknown>

const json = async (answer: Response) => (await answer.json()) as Json
const send = (body: string, headers: Record<string, string> = {}, init: Init = {}) =>
  server.request('POST', `/storage/v1/object/${bucket}`, {
    body,
    headers: { 'x-file-name': 'Offer.txt', ...headers },
    ...init,
  })
const names = async () =>
  (await server.admin`select name from storage.objects where bucket_id = ${bucket} order by name`).map(
    ({ name }) => name,
  )

describe('an upload without a name', () => {
  it('gets one, and is answered as a file with a URL that works', async () => {
    const token = await server.token('ada')
    const answer = await send('hello', { 'content-type': 'text/plain', 'x-tags': 'x' }, { token })
    expect(answer.status).toBe(201)
    const told = await json(answer)
    expect(told.path).toMatch(/^users\/ada\/\d{4}\/\d\d\/\d\d\/\d{8}_\d{6}_[0-9a-f]{8}_Offer\.txt$/)
    expect(told).toMatchObject({
      file_path: told.path,
      Key: `${bucket}/${told.path}`,
      Id: told.id,
      file_id: told.id,
      filename: 'Offer.txt',
      owner_id: 'ada',
      size: 5,
      tags: ['x'],
      message: 'Successfully uploaded',
    })
    expect(await (await fetch(String(told.download_url))).text()).toBe('hello')
    expect(await names()).toEqual([told.path])
  })

  it('may come in a form, which says how its file is called, and be large', async () => {
    const large = 'x'.repeat(400_000)
    for (const parts of [[field('file_name', 'Ä/b.txt'), file(large)], [file(large)]]) {
      const answer = await server.request('POST', `/storage/v1/object/${bucket}`, {
        body: new Uint8Array(form(...parts)),
        headers: { 'content-type': MULTIPART.split(': ')[1] ?? '' },
      })
      expect(answer.status).toBe(201)
      const { path, filename } = await json(answer)
      const isNamed = parts.length === 2
      expect(path).toMatch(isNamed ? /^users\/anonymous\/.*_Ä_b\.txt$/ : /_blob$/)
      expect(filename).toBe(isNamed ? 'Ä/b.txt' : 'blob')
    }
  })

  it('is made a name by its bucket’s template', async () => {
    const change = (template: unknown) =>
      server.request('PUT', `/storage/v1/bucket/${bucket}`, { body: { path_template: template } })
    expect((await change('in/{user_id}/{file_name}')).status).toBe(200)
    expect((await json(await send('a'))).path).toBe('in/anonymous/Offer.txt')
    expect((await send('b')).status).toBe(409)
    const told = await json(await server.request('GET', `/storage/v1/bucket/${bucket}`))
    expect(told.path_template).toBe('in/{user_id}/{file_name}')
    for (const wrong of ['{nobody}', 'x', '/{file_name}', '../{random8}', `${'x'.repeat(256)}{random8}`, 7]) {
      const answer = await change(wrong)
      expect([wrong, answer.status]).toEqual([wrong, 400])
    }
    expect((await change(null)).status).toBe(200)
    expect((await send('b')).status).toBe(201)
  })

  it('is refused without a name of its file, or where the policies do', async () => {
    expect((await server.request('POST', `/storage/v1/object/${bucket}`, { body: 'x' })).status).toBe(400)
    expect((await send('x', { 'x-file-name': 'a\tb' })).status).toBe(400)
    expect((await send('x', {}, { token: null })).status).toBe(401)
    expect(
      (
        await server.request('POST', '/storage/v1/object/nowhere', {
          body: 'x',
          headers: { 'x-file-name': 'a' },
        })
      ).status,
    ).toBe(404)
    await server.request('PUT', `/storage/v1/bucket/${bucket}`, { body: { policy: 'private' } })
    const token = await server.token('ada')
    for (const body of ['x', 'x'.repeat(400_000)]) expect((await send(body, {}, { token })).status).toBe(403)
    expect(await names()).toEqual([])
  })

  it('is told no URL where whoever uploads may not read it', async () => {
    const name = `p-${randomUUID()}`
    await server.createBucket(name)
    await server.admin.unsafe(`create policy "${name}" on storage.objects for insert to authenticated
      with check (bucket_id = '${name}')`)
    const answer = await server.request('POST', `/storage/v1/object/${name}`, {
      body: 'x',
      headers: { 'x-file-name': 'a', 'idempotency-key': 'k' },
      token: await server.token('ada'),
    })
    expect([answer.status, (await json(answer)).download_url]).toEqual([201, null])
    await server.admin.unsafe(`drop policy "${name}" on storage.objects`)
  })
})

describe('an upload with a key', () => {
  const sizes = { small: 'hello', large: 'x'.repeat(400_000) }

  it.each(Object.entries(sizes))(
    'that is sent again is stored once, and answered alike, %s',
    async (_, bytes) => {
      const headers = { 'idempotency-key': randomUUID(), 'x-tags': 'x' }
      const first = await send(bytes, headers)
      expect([first.status, first.headers.get('idempotent-replayed')]).toEqual([201, null])
      const again = await send(bytes, headers)
      expect([again.status, again.headers.get('idempotent-replayed')]).toEqual([201, 'true'])
      expect(await json(again)).toEqual(await json(first))
      for (const other of [send(`${bytes}!`, headers), send(bytes, { ...headers, 'x-tags': 'y' })]) {
        const answer = await other
        expect([answer.status, (await json(answer)).code]).toEqual([409, 'IdempotencyKeyReused'])
      }
      expect(await names()).toHaveLength(1)
      expect((await send(bytes, headers, { token: await server.token('ada') })).status).toBe(201)
      expect(await names()).toHaveLength(2)
    },
  )

  it.each(Object.entries(sizes))(
    'is found by whoever sends it again when its answer was lost, %s',
    async (_, bytes) => {
      const headers = { 'idempotency-key': randomUUID() }
      const first = await json(await send(bytes, headers))
      // As if the process had died behind the commit.
      await server.admin`update strongroom.idempotency_keys set answer = null, request = null, held_until = now()`
      const other = await send(`${bytes}!`, headers)
      expect([other.status, (await json(other)).code]).toEqual([409, 'IdempotencyKeyReused'])
      await server.admin`update strongroom.idempotency_keys set held_until = now()`
      const again = await send(bytes, headers)
      expect(again.status).toBe(201)
      const { download_url: _url, ...told } = await json(again)
      const { download_url: __, ...before } = first
      expect(told).toEqual(before)
      expect(await names()).toHaveLength(1)
    },
  )

  it('that was refused can be sent with another body', async () => {
    const headers = { 'idempotency-key': randomUUID() }
    expect((await send('x', { ...headers, 'x-tags': '[' })).status).toBe(400)
    expect((await send('y', headers)).status).toBe(201)
  })

  it.each(['ü', 'x'.repeat(256)])('%j is none', async (key) => {
    const answer = await send('x', { 'idempotency-key': Buffer.from(key).toString('latin1') })
    expect(answer.status).toBe(400)
    expect(await names()).toEqual([])
  })

  it('keeps nothing of its body, and no URL that works', async () => {
    const bytes = `secret ${randomUUID()}`
    const told = await json(await send(bytes, { 'idempotency-key': randomUUID() }))
    const token = String(told.download_url).replace(/.*token=/, '')
    expect(token).toMatch(/./)
    const rows = await server.admin`select k::text as row from strongroom.idempotency_keys k`
    expect(rows.filter(({ row }) => row.includes(bytes) || row.includes(token))).toEqual([])
    expect(rows.length).toBeGreaterThan(0)
  })
})

describe('a name that is made', () => {
  const making = { at: Date.UTC(2026, 10, 30, 15, 45, 7), random: '0123abcd' }
  const make = (fileName: string, userId: string | null = 'u', template: string | null = null) =>
    makeName(template, 'default', making, { userId, fileName })

  it.each([
    ['a.txt', 'u', 'users/u/2026/11/30/20261130_154507_0123abcd_a.txt'],
    ['../a/b', '../v', 'users/.._v/2026/11/30/20261130_154507_0123abcd_.._a_b'],
    ['..', '..', 'users/__/2026/11/30/20261130_154507_0123abcd___'],
    ['a\u0000\n\ud800b', null, 'users/anonymous/2026/11/30/20261130_154507_0123abcd_a___b'],
  ])('of %j is legal', (fileName, userId, name) => {
    expect(make(fileName, userId)).toBe(name)
  })

  it('has at most 255 bytes, and keeps its extension', () => {
    const name = make(`${'ü'.repeat(300)}.jpeg`)
    expect(Buffer.byteLength(name)).toBeLessThanOrEqual(255)
    expect(Buffer.byteLength(name)).toBeGreaterThan(252)
    expect(name.endsWith('ü.jpeg')).toBe(true)
  })

  it('is one of Supabase’s where its wire is wanted', () => {
    const name = makeName(null, 'supabase', making, { userId: 'ü', fileName: 'Ä b.txt' })
    expect(name).toBe('users/_/2026/11/30/20261130_154507_0123abcd__ b.txt')
  })

  it('has places that are known', () => {
    expect(parsePathTemplate('{random8}', 'default')).toBe('{random8}')
    expect(() => parsePathTemplate('{x}', 'default')).toThrow(/user_id/)
  })
})
