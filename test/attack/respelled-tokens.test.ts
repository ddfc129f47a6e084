import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { RealtimeClients } from '../http/realtime/clients.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { open, put, sign, tokenOf } from '../support/signed.ts'
import { metadataOf } from '../support/tus-requests.ts'

/** Whatever goes by the text of a token, such as a list of withdrawn ones, is not walked around by another spelling. */

let server: TestServer
const clients = new RealtimeClients(() => server)
beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket('box')
  for (const name of ['a', 'b', 'c']) await put(server, `box/${name}`, 'bytes')
})
afterEach(() => clients.close())
afterAll(() => server.close())

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** Texts that decode to the same bytes in each part, as Node's decoder reads them. */
function respelled(token: string): string[] {
  const bytes = (text: string) =>
    text
      .split('.')
      .map((part) => Buffer.from(part, 'base64url').toString('hex'))
      .join()
  const ends = [...token.matchAll(/.(?=\.|$)/g)].map(({ index }) => index)
  const all = ends.flatMap((end) => [
    ...[...ALPHABET].map((last) => token.slice(0, end) + last + token.slice(end + 1)),
    ...['=', '==', '%20', '%0A', '~', '$'].map(
      (extra) => token.slice(0, end + 1) + extra + token.slice(end + 1),
    ),
  ])
  return all.filter((text) => text !== token && bytes(decodeURIComponent(text)) === bytes(token))
}

it('a login', async () => {
  const token = server.keys.serviceKey
  const others = respelled(token)
  expect(others.length).toBeGreaterThanOrEqual(3)
  const ask = (url: string, headers: Record<string, string> = {}) => fetch(`${server.url}${url}`, { headers })
  for (const other of others) {
    const text = decodeURIComponent(other)
    if (!/\s/.test(text)) {
      for (const headers of [
        { authorization: `Bearer ${text}` },
        { authorization: text },
        { apikey: text },
      ]) {
        const response = await ask('/storage/v1/bucket', headers as Record<string, string>)
        expect([text, response.status]).toEqual([text, 401])
      }
    }
    // White space around a token is not of the token.
    if (/\s$/.test(text)) continue
    expect([other, (await ask(`/storage/v1/events?apikey=${other}`)).status]).toEqual([other, 401])
    expect([other, (await ask(`/realtime/v1/websocket?apikey=${other}`)).status]).toEqual([other, 426])
    await expect(clients.raw({ apikey: text })).rejects.toThrow('401')
  }
  const client = await clients.raw()
  for (const other of others.map(decodeURIComponent).filter((text) => !/\s$/.test(text))) {
    const joined = await client.join('realtime:storage', { config: {}, access_token: other })
    expect([other, joined.payload.status]).toEqual([other, 'error'])
  }
  expect((await client.join('realtime:storage', { access_token: token })).payload.status).toBe('ok')
})

it('a link', async () => {
  const token = tokenOf(await sign(server, 'box/a'))
  const at = (text: string) => `/storage/v1/object/sign/box/a?token=${text}`
  expect((await open(server, at(token))).status).toBe(200)
  const others = respelled(token)
  expect(others.length).toBeGreaterThanOrEqual(3)
  for (const other of others) expect([other, (await open(server, at(other))).status]).toEqual([other, 403])
})

it('a link to upload, at once or in chunks', async () => {
  const signed = await server.request('POST', '/object/upload/sign/box/new')
  const { token } = (await signed.json()) as { token: string }
  for (const other of respelled(token)) {
    const url = `/storage/v1/object/upload/sign/box/new?token=${other}`
    expect([other, (await open(server, url, { method: 'PUT', body: 'x' })).status]).toEqual([other, 403])
    if (/%/.test(other)) continue // no header holds a line break, and white space around a token is not of it
    const headers = {
      'tus-resumable': '1.0.0',
      'upload-length': '5',
      'upload-metadata': metadataOf({ bucketName: 'box', objectName: 'new' }),
      'x-signature': other,
    }
    const tus = await fetch(`${server.url}/storage/v1/upload/resumable/sign`, { method: 'POST', headers })
    expect([other, tus.status]).toEqual([other, 400])
  }
  const rows = await server.admin`select 1 from storage.objects where bucket_id = 'box' and name = 'new'`
  expect(rows).toHaveLength(0)
})

it('the place in a list', async () => {
  const page = async (cursor?: string) => {
    const body = { limit: 1, ...(cursor !== undefined && { cursor }) }
    return server.request('POST', '/object/list-v2/box', { body })
  }
  const cursor = ((await (await page()).json()) as { nextCursor: string }).nextCursor
  expect((await page(cursor)).status).toBe(200)
  for (const other of respelled(cursor).map(decodeURIComponent)) {
    expect([other, (await page(other)).status]).toEqual([other, 400])
  }
})

it('an unfinished upload', async () => {
  const headers = {
    'tus-resumable': '1.0.0',
    'upload-length': '5',
    'upload-metadata': metadataOf({ bucketName: 'box', objectName: 'unfinished' }),
  }
  const made = await server.request('POST', '/upload/resumable', { headers })
  const url = new URL(made.headers.get('location') ?? '')
  const id = url.pathname.split('/').at(-1) ?? ''
  const head = (text: string) =>
    server.request('HEAD', url.pathname.replace(id, text), { headers: { 'tus-resumable': '1.0.0' } })
  expect((await head(id)).status).toBe(200)
  const others = respelled(id)
  expect(others.length).toBeGreaterThan(0)
  for (const other of others) expect([other, (await head(other)).status]).toEqual([other, 400])
})
