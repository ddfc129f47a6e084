import { randomUUID } from 'node:crypto'
import { expect } from 'vitest'
import { RawClient } from '../../http/realtime/clients.ts'
import { openEvents } from '../../support/event-stream.ts'
import { BOUNDARY, file, form } from '../../support/multipart.ts'
import { metadataOf } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'
import { type Operation, type Outcome, outcomeOf, shows, status } from './outcome.ts'
import { type Cell, NAME, SECRET } from './world.ts'

const TUS = { 'tus-resumable': '1.0.0' }
const PIECE = { ...TUS, 'content-type': 'application/offset+octet-stream' }
const TEXT = { 'content-type': 'text/plain' }

const bytesBy =
  (route: string): Operation =>
  async (cell) =>
    shows(SECRET, await cell.ask('GET', `/object/${route}${cell.object}`))

const factsBy =
  (route: string): Operation =>
  async (cell) =>
    shows('text/plain', await cell.ask('GET', `/object/info/${route}${cell.object}`))

function tusCreation(cell: Cell, name: string): Record<string, string> {
  const metadata = metadataOf({ bucketName: cell.bucket, objectName: name })
  return { ...TUS, 'upload-length': '3', 'upload-metadata': metadata }
}

/** An upload that the bucket's owner has begun: its path. */
async function begun(cell: Cell): Promise<string> {
  const response = await cell.done('POST', '/upload/resumable', {
    token: cell.world.tokens.owner,
    headers: tusCreation(cell, 'album/new.txt'),
  })
  return new URL(response.headers.get('location') ?? '').pathname.replace('/storage/v1', '')
}

/** A link that the bucket's owner has signed for an upload: its path, and its token. */
async function uploadLink(cell: Cell): Promise<{ url: string; token: string }> {
  const path = `/object/upload/sign/${cell.bucket}/album/new.txt`
  const response = await cell.done('POST', path, { token: cell.world.tokens.owner })
  return response.json() as Promise<{ url: string; token: string }>
}

/** A webhook that the service has made, gone again when the caller has asked. */
async function withWebhook(cell: Cell, ask: (path: string) => Promise<Response>): Promise<Outcome> {
  const body = { url: 'http://127.0.0.1:9/', bucket: cell.bucket, allow_private: true }
  const { id } = (await (await cell.done('POST', '/webhook', { body })).json()) as { id: string }
  const outcome = await outcomeOf(await ask(`/webhook/${id}`))
  await cell.world.server.request('DELETE', `/storage/v1/webhook/${id}`)
  return outcome
}

/** Whether a listener hears of a change, before it hears of a later one that everybody may see. */
async function listens(cell: Cell, heard: () => { path: string | null; bucket: string }[]): Promise<Outcome> {
  const { visible } = cell.world.commons
  const mark = randomUUID()
  await cell.done('PUT', `/object/${cell.object}`, { body: 'other' })
  await cell.done('POST', `/object/${visible}/${mark}`, { body: 'mark' })
  await until(() => heard().some(({ path }) => path === mark), 'the mark is heard')
  return heard().some(({ bucket }) => bucket === cell.bucket) ? 200 : 'empty'
}

/** Every way to ask for something, by the name of its row in the table. */
export const OPERATIONS: Record<string, Operation> = {
  upload: (cell) =>
    status(cell.ask('POST', `/object/${cell.bucket}/album/new.txt`, { body: 'new', headers: TEXT })),
  'upload, form': (cell) =>
    status(
      cell.ask('POST', `/object/${cell.bucket}/album/new.txt`, {
        body: form(file('new')).toString(),
        headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
      }),
    ),
  'upload where one is': (cell) =>
    status(cell.ask('POST', `/object/${cell.object}`, { body: 'other', headers: TEXT })),
  'upload over one': (cell) =>
    status(
      cell.ask('POST', `/object/${cell.object}`, { body: 'other', headers: { ...TEXT, 'x-upsert': 'true' } }),
    ),
  put: (cell) => status(cell.ask('PUT', `/object/${cell.object}`, { body: 'other', headers: TEXT })),
  get: bytesBy(''),
  head: (cell) => status(cell.ask('HEAD', `/object/${cell.object}`)),
  'get, authenticated': bytesBy('authenticated/'),
  'get, public': bytesBy('public/'),
  info: factsBy(''),
  'info, authenticated': factsBy('authenticated/'),
  'info, public': factsBy('public/'),
  sign: async (cell) =>
    shows('token=', await cell.ask('POST', `/object/sign/${cell.object}`, { body: { expiresIn: 60 } })),
  'sign many': async (cell) => {
    const body = { expiresIn: 60, paths: [NAME] }
    return shows('token=', await cell.ask('POST', `/object/sign/${cell.bucket}`, { body }))
  },
  'get, signed': async (cell) => {
    const signed = await cell.done('POST', `/object/sign/${cell.object}`, { body: { expiresIn: 60 } })
    const { signedURL } = (await signed.json()) as { signedURL: string }
    return shows(SECRET, await cell.ask('GET', signedURL))
  },
  'get, signed for another': async (cell) => {
    await cell.done('POST', `/object/${cell.bucket}/album/other.txt`, { body: 'other' })
    const signed = await cell.done('POST', `/object/sign/${cell.bucket}/album/other.txt`, {
      body: { expiresIn: 60 },
    })
    const { signedURL } = (await signed.json()) as { signedURL: string }
    return shows(SECRET, await cell.ask('GET', signedURL.replace('other.txt', 'photo.txt')))
  },
  'sign an upload': async (cell) =>
    shows('token=', await cell.ask('POST', `/object/upload/sign/${cell.bucket}/album/new.txt`)),
  'put, signed': async (cell) =>
    status(cell.ask('PUT', (await uploadLink(cell)).url, { body: 'new', headers: TEXT })),
  list: async (cell) =>
    shows('photo.txt', await cell.ask('POST', `/object/list/${cell.bucket}`, { body: { prefix: 'album/' } })),
  'list, v2': async (cell) =>
    shows(
      'photo.txt',
      await cell.ask('POST', `/object/list-v2/${cell.bucket}`, { body: { prefix: 'album/' } }),
    ),
  'list, v2, with a filter': async (cell) => {
    const body = { prefix: 'album/', filter: { min_size: 1, search: 'PHOTO' } }
    return shows('photo.txt', await cell.ask('POST', `/object/list-v2/${cell.bucket}`, { body }))
  },
  'list, v2, of all buckets': async (cell) => {
    const filter = { created_after: new Date(0).toISOString() }
    let cursor: string | undefined
    // Other cells' buckets are listed, too, where all may see them.
    for (;;) {
      const body = { prefix: 'album/', filter, limit: 1000, cursor }
      const response = await cell.ask('POST', '/object/list-v2', { body })
      const outcome = await shows(cell.bucket, response.clone())
      const page = outcome === 'empty' ? ((await response.json()) as { nextCursor?: string }) : {}
      cursor = page.nextCursor
      if (!cursor) return outcome
    }
  },
  move: (cell) => {
    const body = { bucketId: cell.bucket, sourceKey: NAME, destinationKey: 'album/new.txt' }
    return status(cell.ask('POST', '/object/move', { body }))
  },
  'move out': (cell) => {
    const { writable: destinationBucket } = cell.world.commons
    const body = { bucketId: cell.bucket, sourceKey: NAME, destinationBucket, destinationKey: randomUUID() }
    return status(cell.ask('POST', '/object/move', { body }))
  },
  copy: (cell) => {
    const body = { bucketId: cell.bucket, sourceKey: NAME, destinationKey: 'album/new.txt' }
    return status(cell.ask('POST', '/object/copy', { body }))
  },
  'copy out': (cell) => {
    const { writable: destinationBucket } = cell.world.commons
    const body = { bucketId: cell.bucket, sourceKey: NAME, destinationBucket, destinationKey: randomUUID() }
    return status(cell.ask('POST', '/object/copy', { body }))
  },
  delete: (cell) => status(cell.ask('DELETE', `/object/${cell.object}`)),
  'delete many': async (cell) => {
    const before = await cell.facts()
    const response = await cell.ask('DELETE', `/object/${cell.bucket}`, { body: { prefixes: [NAME] } })
    const outcome = await shows('photo.txt', response)
    expect((await cell.facts()) === before, 'nothing has changed').toBe(outcome !== 200)
    return outcome
  },
  'upload, unnamed': (cell) =>
    status(
      cell.ask('POST', `/object/${cell.bucket}`, { body: 'new', headers: { ...TEXT, 'x-file-name': 'a' } }),
    ),
  change: (cell) => status(cell.ask('PATCH', `/object/${cell.object}`, { body: { tags: ['new'] } })),
  metadata: (cell) => status(cell.ask('GET', `/metadata/${cell.object}`)),
  'change metadata': (cell) => status(cell.ask('PUT', `/metadata/${cell.object}`, { body: { a: 1 } })),
  file: async (cell) => shows('photo.txt', await cell.ask('GET', `/file/${await cell.id()}`)),
  'change, by id': async (cell) =>
    status(cell.ask('PATCH', `/file/${await cell.id()}`, { body: { tags: ['new'] } })),
  'delete, by id': async (cell) => status(cell.ask('DELETE', `/file/${await cell.id()}`)),
  'resumable, begin': (cell) =>
    status(cell.ask('POST', '/upload/resumable', { headers: tusCreation(cell, 'album/new.txt') })),
  'resumable, ask how far': async (cell) => status(cell.ask('HEAD', await begun(cell), { headers: TUS })),
  'resumable, go on': async (cell) =>
    status(
      cell.ask('PATCH', await begun(cell), { headers: { ...PIECE, 'upload-offset': '0' }, body: 'new' }),
    ),
  'resumable, give up': async (cell) => status(cell.ask('DELETE', await begun(cell), { headers: TUS })),
  'resumable, begin signed': async (cell) => {
    const headers = { ...tusCreation(cell, 'album/new.txt'), 'x-signature': (await uploadLink(cell)).token }
    return status(cell.ask('POST', '/upload/resumable/sign', { headers }))
  },
  'bucket, make': (cell) => status(cell.ask('POST', '/bucket', { body: { name: `made-${randomUUID()}` } })),
  'bucket, list': async (cell) => shows(cell.bucket, await cell.ask('GET', `/bucket?search=${cell.bucket}`)),
  'bucket, get': async (cell) => shows(cell.bucket, await cell.ask('GET', `/bucket/${cell.bucket}`)),
  'bucket, change': (cell) =>
    status(cell.ask('PUT', `/bucket/${cell.bucket}`, { body: { file_size_limit: 77 } })),
  'bucket, empty': (cell) => status(cell.ask('POST', `/bucket/${cell.bucket}/empty`)),
  'bucket, delete when full': (cell) => status(cell.ask('DELETE', `/bucket/${cell.bucket}`)),
  'bucket, delete': async (cell) => {
    await cell.done('DELETE', `/object/${cell.object}`)
    return status(cell.ask('DELETE', `/bucket/${cell.bucket}`))
  },
  events: async (cell) => {
    const { status } = await cell.ask('HEAD', '/events')
    if (status !== 200) return status // a refusal has no body here
    const reader = await openEvents(cell.world.server, { token: cell.token })
    return listens(cell, reader.events).finally(reader.close)
  },
  realtime: async (cell) => {
    const headers = cell.token === null ? {} : { authorization: `Bearer ${cell.token}` }
    const client = new RawClient(cell.world.server, { apikey: null, headers })
    const refused = await client.opened.catch((error: Error) => error.message)
    if (refused !== undefined) return Number(/\d{3}$/.exec(refused)?.[0])
    try {
      await client.join('realtime:storage')
      const heard = () =>
        client.frames.flatMap((frame) => (frame.event === 'broadcast' ? [frame.payload.payload] : []))
      return await listens(cell, heard)
    } finally {
      client.socket.terminate()
    }
  },
  'webhook, list': (cell) => status(cell.ask('GET', '/webhook')),
  'webhook, get': (cell) => withWebhook(cell, (path) => cell.ask('GET', path)),
  'webhook, make': async (cell) => {
    const body = { url: 'http://127.0.0.1:9/', bucket: cell.bucket, allow_private: true }
    const response = await cell.ask('POST', '/webhook', { body })
    const { id } = (await response.clone().json()) as { id?: string }
    if (response.ok) await cell.done('DELETE', `/webhook/${id}`)
    return outcomeOf(response)
  },
  'webhook, change': (cell) =>
    withWebhook(cell, (path) => cell.ask('PATCH', path, { body: { events: ['storage.object.deleted'] } })),
  'webhook, delete': (cell) => withWebhook(cell, (path) => cell.ask('DELETE', path)),
  'webhook, dead letters': (cell) => withWebhook(cell, (path) => cell.ask('GET', `${path}/dead-letter`)),
  'webhook, replay': (cell) =>
    withWebhook(cell, (path) => cell.ask('POST', `${path}/dead-letter/replay`, { body: {} })),
}
