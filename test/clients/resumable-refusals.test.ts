import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { openBackend } from '../../src/backend/open.ts'
import { cleanUp } from '../support/cleanup.ts'
import { expectNoDrift } from '../support/traces.ts'
import { bytesFor, expectStored, type ObjectPlace, refusal, startUpload, tusOptions } from '../support/tus.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { describeClient, describeClientInBothModes } from './describe-client.ts'

/** How many clients write at one name. */
const RACERS = 4

// The statuses of this protocol are the true ones in both modes.
describe('a resumable upload', () => {
  describeClientInBothModes((clients) => {
    async function place(settings: Record<string, unknown> = {}): Promise<ObjectPlace> {
      return { bucket: await clients.bucket(settings), name: 'a.bin' }
    }
    const user = (subject: string) => clients.server.token(subject)

    it("is refused at its beginning over the bucket's limit", async () => {
      const at = await place({ file_size_limit: 1000 })
      const before = await clients.stored()

      const over = startUpload(bytesFor(at, 1001), tusOptions(clients.server, at))
      expect(await refusal(over)).toEqual({ status: 413, text: 'Maximum size exceeded\n' })

      expect(over.sent).toEqual(['POST'])
      expect(await clients.stored()).toEqual(before)
      await startUpload(bytesFor(at, 1000), tusOptions(clients.server, at)).done
      await expectStored(clients.server, at, bytesFor(at, 1000))
    })

    it("is refused as soon as it grows over the bucket's limit", async () => {
      const at = await place({ file_size_limit: 10_000 })
      const options = tusOptions(clients.server, at, { uploadLengthDeferred: true, chunkSize: 4096 })

      const over = startUpload(Readable.from(bytesFor(at, 20_000), { objectMode: false }), options)
      expect(await refusal(over)).toEqual({ status: 413, text: 'Maximum size exceeded\n' })

      expect(over.sent).toEqual(['POST', 'PATCH 0', 'PATCH 4096', 'PATCH 8192'])
      expect((await clients.server.request('GET', `/storage/v1/object/${at.bucket}/a.bin`)).ok).toBe(false)
      await new TusRequests(clients.server).terminate(over.upload.url ?? '')
    })

    it('is refused at its beginning when the bucket does not take its type', async () => {
      const at = await place({ allowed_mime_types: ['image/*'] })
      const bytes = bytesFor(at, 100)
      const of = (contentType: string) =>
        startUpload(bytes, tusOptions(clients.server, at, { metadata: { contentType } }))

      const refused = of('text/css')
      expect(await refusal(refused)).toEqual({ status: 415, text: 'mime type text/css is not supported' })
      expect(refused.sent).toEqual(['POST'])

      await of('image/png').done
      await expectStored(clients.server, at, bytes)
    })

    it('is refused for a bucket that is not there', async () => {
      const upload = startUpload(
        Buffer.from('x'),
        tusOptions(clients.server, { bucket: 'absent', name: 'a' }),
      )

      expect(await refusal(upload)).toEqual({ status: 404, text: 'Bucket not found' })
    })

    it('is refused to those to whom the policies deny the object', async () => {
      const at = await place()
      const denied = { status: 403, text: 'new row violates row-level security policy' }

      for (const token of [clients.server.keys.anonKey, await user('stranger')]) {
        const upload = startUpload(Buffer.from('x'), tusOptions(clients.server, at, { token }))
        expect(await refusal(upload)).toEqual(denied)
        expect(upload.sent).toEqual(['POST'])
      }
    })

    it('is refused to those who have no login', async () => {
      const at = await place({ public: true })
      const options = tusOptions(clients.server, at)

      const nobody = startUpload(Buffer.from('x'), { ...options, headers: {} })
      expect((await refusal(nobody)).status).toBe(clients.isSupabase ? 400 : 401)
      const impostor = startUpload(Buffer.from('x'), { ...options, headers: { authorization: 'Bearer x' } })
      expect((await refusal(impostor)).status).toBe(clients.isSupabase ? 400 : 401)
    })

    it('is refused in parts that are sent side by side', async () => {
      const at = await place()
      const options = tusOptions(clients.server, at)
      const upload = startUpload(bytesFor(at, 100), { ...options, parallelUploads: 2 })

      expect(await refusal(upload)).toEqual({
        status: 501,
        text: 'The concatenation extension is not supported',
      })
    })

    it("is nobody else's to look at, to go on with or to end", async () => {
      const at = await place({ policy: 'authenticated' })
      const alice = new TusRequests(clients.server, { token: await user('alice') })
      const url = await alice.begin(at, 4)
      const { anonKey, serviceKey } = clients.server.keys

      for (const token of [await user('mallory'), anonKey, serviceKey]) {
        const other = new TusRequests(clients.server, { token })
        expect((await other.head(url)).status).toBe(403)
        expect((await other.patch(url, 0, Buffer.from('evil'))).status).toBe(403)
        expect((await other.terminate(url)).status).toBe(403)
      }

      expect((await alice.patch(url, 0, Buffer.from('good'))).status).toBe(204)
      await expectStored(clients.server, at, Buffer.from('good'))
    })

    it('is refused with 409 where there is an object, and replaces it with x-upsert', async () => {
      const at = await place()
      await startUpload(Buffer.from('first'), tusOptions(clients.server, at)).done

      const second = startUpload(Buffer.from('second'), tusOptions(clients.server, at))
      expect(await refusal(second)).toEqual({ status: 409, text: 'The resource already exists' })
      expect(second.sent).toEqual(['POST'])
      await expectStored(clients.server, at, Buffer.from('first'))

      const headers = { 'x-upsert': 'true' }
      await startUpload(Buffer.from('third'), tusOptions(clients.server, at, { headers })).done
      await expectStored(clients.server, at, Buffer.from('third'))
    })

    it('is one of several that race for one name: exactly one is accepted, whole', async () => {
      const at = await place()
      const contents = Array.from({ length: RACERS }, (_, n) => bytesFor({ ...at, name: `${n}` }, 20_000))
      const started = barrier(RACERS)

      const uploads = contents.map((bytes) =>
        startUpload(bytes, tusOptions(clients.server, at, { chunkSize: 8000, onBeforeRequest: started })),
      )
      const results = await Promise.allSettled(uploads.map(({ done }) => done))

      const winners = results.flatMap(({ status }, n) => (status === 'fulfilled' ? [n] : []))
      expect(winners.length).toBe(1)
      for (const [n, upload] of uploads.entries()) {
        if (n !== winners[0]) expect((await refusal(upload)).status).toBe(409)
      }
      await expectStored(clients.server, at, contents[winners[0] ?? 0] ?? Buffer.alloc(0))
    })

    it('is one of several that race with x-upsert: all are accepted, and one of them is there, whole', async () => {
      const at = await place()
      const contents = Array.from({ length: RACERS }, (_, n) => bytesFor({ ...at, name: `${n}` }, 20_000))
      const started = barrier(RACERS)

      const headers = { 'x-upsert': 'true' }
      const options = tusOptions(clients.server, at, { headers, chunkSize: 8000, onBeforeRequest: started })
      await Promise.all(contents.map((bytes) => startUpload(bytes, options).done))

      const download = await clients.server.request('GET', `/storage/v1/object/${at.bucket}/a.bin`)
      const there = Buffer.from(await download.arrayBuffer())
      const winner = contents.find((bytes) => bytes.equals(there))
      await expectStored(clients.server, at, winner ?? Buffer.alloc(0))
    })
  })
})

describeClient('a resumable upload that nobody goes on with', { STORAGE_TUS_EXPIRY: '1h' }, (clients) => {
  it('expires, and the cleanup removes what there is of it', async () => {
    const { server } = clients
    const at = { bucket: await clients.bucket(), name: 'a.bin' }
    const bytes = bytesFor(at, 6_000_000)
    const raw = new TusRequests(server)
    const url = await raw.begin(at, bytes.length)
    const answer = await raw.patch(url, 0, bytes.subarray(0, 5_500_000))
    expect(answer.status).toBe(204)
    expect(Date.parse(answer.headers.get('upload-expires') ?? '')).toBeLessThanOrEqual(Date.now() + 3_600_000)

    await letPass('1 hour')
    expect((await raw.head(url)).status).toBe(410)
    expect((await raw.patch(url, 5_500_000, bytes.subarray(5_500_000))).status).toBe(410)
    await cleanUp(server)

    expect(await clients.stored()).toEqual({ rows: 0, files: 0 })
    expect(await unfinished()).toBe(0)
    await expectNoDrift(server)
    expect((await raw.head(url)).status).toBe(410)

    // A day later nobody asks for it any more.
    await letPass('25 hours')
    await cleanUp(server)
    expect((await raw.head(url)).status).toBe(404)
    expect(await server.admin`select id from storage.resumable_uploads`).toEqual([])
  })

  it('is begun anew by a client that comes back', async () => {
    const at = { bucket: await clients.bucket(), name: 'b.bin' }
    const bytes = bytesFor(at, 1000)
    const raw = new TusRequests(clients.server)
    const url = await raw.begin(at, bytes.length)
    await letPass('1 hour')

    const upload = startUpload(bytes, { ...tusOptions(clients.server, at), uploadUrl: url })
    await upload.done

    expect(upload.sent).toEqual(['HEAD', 'POST', 'PATCH 0'])
    await expectStored(clients.server, at, bytes)
  })

  /** As if so much time had gone by. The clients themselves have as much as they need, however busy the machine is. */
  async function letPass(interval: string): Promise<void> {
    await clients.server.admin`
      update storage.resumable_uploads set expires_at = expires_at - ${interval}::interval`
  }

  /** What the backend has of versions that were begun and never completed. */
  async function unfinished(): Promise<number> {
    const { config } = clients.server
    const backend = await openBackend(config.backend, config)
    let count = 0
    for await (const _ of backend.unfinished()) count++
    await backend.close()
    return count
  }
})

/** Lets the second requests of so many clients begin at the same time: all have begun an upload then. */
function barrier(clients: number): () => Promise<void> {
  let [requests, open] = [0, () => {}]
  const all = new Promise<void>((resolve) => {
    open = resolve
  })
  return async () => {
    if (++requests <= clients) return
    if (requests === 2 * clients) open()
    await all
  }
}
