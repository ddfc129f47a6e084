import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as tus from 'tus-js-client'
import { expect, it } from 'vitest'
import { openLine } from '../support/line.ts'
import { expectNoDrift } from '../support/traces.ts'
import {
  bytesFor,
  chunks,
  expectStored,
  MiB,
  notedOffset,
  type ObjectPlace,
  startUpload,
  tusOptions,
} from '../support/tus.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { until } from '../support/wait.ts'
import { describeClient } from './describe-client.ts'

/** In what tus-js-client remembers uploads under Node. Its types leave it out. */
const { FileUrlStorage } = tus as unknown as { FileUrlStorage: new (path: string) => tus.UrlStorage }

describeClient('a resumable upload that was interrupted', {}, (clients) => {
  let count = 0
  async function place(): Promise<ObjectPlace> {
    return { bucket: await clients.bucket(), name: `a-${++count}.bin` }
  }

  /** Begins an upload, and stops behind its first chunk, of 4000 bytes. */
  async function interrupted(bytes: Buffer, options: tus.UploadOptions) {
    let isInterrupted = false
    const upload = startUpload(bytes, {
      ...options,
      chunkSize: 4000,
      onChunkComplete: () => {
        if (!isInterrupted) void upload.upload.abort()
        isInterrupted = true
      },
    })
    await until(() => isInterrupted, 'a chunk is stored')
    return upload
  }

  it('between two chunks goes on with the next one', async () => {
    const at = await place()
    const bytes = bytesFor(at, 10_000)
    const upload = await interrupted(bytes, tusOptions(clients.server, at))

    upload.upload.start()
    await upload.done

    expect(upload.sent).toEqual(['POST', 'PATCH 0', 'HEAD', 'PATCH 4000', 'PATCH 8000'])
    await expectStored(clients.server, at, bytes)
  })

  it('within a chunk does not send again what has arrived', async () => {
    const at = await place()
    const bytes = bytesFor(at, 12 * MiB)
    const line = await openLine(clients.server.url)
    try {
      const { keys } = clients.server
      const upload = startUpload(bytes, tusOptions({ url: line.url, keys }, at))
      line.bytesPerSecond = 16 * MiB
      await until(() => line.passed > 7 * MiB, 'more than half of it has arrived')
      await upload.upload.abort()
      line.cut()
      await until(async () => (await notedOffset(clients.server, at.name)) > 0, 'the server has noticed')
      const offset = await new TusRequests(clients.server).offset(
        upload.upload.url?.replace(line.url, clients.server.url) ?? '',
      )

      line.bytesPerSecond = Number.POSITIVE_INFINITY
      upload.upload.start()
      await upload.done

      expect(offset).toBeGreaterThan(6 * MiB)
      expect(upload.sent).toEqual(['POST', 'PATCH 0', 'HEAD', `PATCH ${offset}`])
      await expectStored(clients.server, at, bytes)
    } finally {
      await line.close()
    }
  })

  it('by a line that went dead takes itself back from its own old request', async () => {
    const at = await place()
    const bytes = bytesFor(at, 300_000)
    const raw = new TusRequests(clients.server)
    const url = await raw.begin(at, bytes.length)
    const stale = await raw.stall(url, 0, bytes.length, bytes.subarray(0, 100_000))
    await until(() => isHeld(at), 'the server has begun to read it')

    const upload = startUpload(bytes, { ...tusOptions(clients.server, at), uploadUrl: url })
    await upload.done

    expect(upload.sent[0]).toBe('HEAD')
    expect(chunks(upload)[0]).toBeLessThanOrEqual(100_000)
    expect((await stale.response()).status).toBe(423)
    stale.abort()
    await expectStored(clients.server, at, bytes)
  })

  async function isHeld({ name }: ObjectPlace): Promise<boolean> {
    const [row] = await clients.server.admin`
      select attempt from storage.resumable_uploads where name = ${name}`
    return Number(row?.attempt) > 0
  }

  it('is found again by the next session of the app, and goes on there', async () => {
    const at = await place()
    const bytes = bytesFor(at, 10_000)
    const folder = await mkdtemp(join(tmpdir(), 'strongroom-tus-'))
    try {
      const urlStorage = new FileUrlStorage(join(folder, 'uploads.json'))
      const options = { ...tusOptions(clients.server, at, { removeFingerprintOnSuccess: true }), urlStorage }
      const before = await interrupted(bytes, options)

      const found = await new tus.Upload(bytes, options).findPreviousUploads()
      expect(found).toMatchObject([{ uploadUrl: before.upload.url, size: 10_000 }])
      const upload = startUpload(bytes, { ...options, uploadUrl: found[0]?.uploadUrl ?? null })
      await upload.done

      expect(upload.sent).toEqual(['HEAD', 'PATCH 4000'])
      await expectStored(clients.server, at, bytes)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('goes on in two sessions at once, and both hear that it is done', async () => {
    const at = await place()
    const bytes = bytesFor(at, 300_000)
    const { upload } = await interrupted(bytes, tusOptions(clients.server, at))

    const options = { ...tusOptions(clients.server, at), uploadUrl: upload.url, chunkSize: 50_000 }
    // Longer each time, as a machine at work takes longer for a chunk: who asks again at once only takes it away from the other.
    const retryDelays = Array.from({ length: 50 }, (_, n) => 20 * n)
    const sessions = [1, 2].map(() => startUpload(bytes, { ...options, endpoint: null, retryDelays }))
    await Promise.all(sessions.map(({ done }) => done))

    await expectStored(clients.server, at, bytes)
  })

  it('goes on at another server over the same database and store, and back', async () => {
    const at = await place()
    const bytes = bytesFor(at, 10_000)
    const { upload } = await interrupted(bytes, tusOptions(clients.server, at))
    const second = await clients.server.beside()
    try {
      const there = upload.url?.replace(clients.server.url, second.url) ?? ''
      expect((await new TusRequests(second).patch(there, 4000, bytes.subarray(4000, 7000))).status).toBe(204)

      const back = startUpload(bytes, { ...tusOptions(clients.server, at), uploadUrl: upload.url })
      await back.done

      expect(back.sent).toEqual(['HEAD', 'PATCH 7000'])
      await expectStored(second, at, bytes)
    } finally {
      await second.close()
    }
  })

  it('goes on with a new login of the same user', async () => {
    const at = { bucket: await clients.bucket({ policy: 'authenticated' }), name: 'new-login.bin' }
    const bytes = bytesFor(at, 10_000)
    const [one, other] = [await clients.server.token('alice'), await clients.server.token('alice')]
    const { upload } = await interrupted(bytes, tusOptions(clients.server, at, { token: one }))

    const later = startUpload(bytes, {
      ...tusOptions(clients.server, at, { token: other }),
      uploadUrl: upload.url,
    })
    await later.done

    expect(later.sent).toEqual(['HEAD', 'PATCH 4000'])
    await expectStored(clients.server, at, bytes)
    const rows = await clients.server
      .admin`select owner_id from storage.objects where bucket_id = ${at.bucket}`
    expect(rows).toEqual([{ owner_id: 'alice' }])
  })

  it('just before its last answer is found to be done', async () => {
    const at = await place()
    const bytes = bytesFor(at, 1000)
    const first = startUpload(bytes, tusOptions(clients.server, at))
    await first.done

    const again = startUpload(bytes, { ...tusOptions(clients.server, at), uploadUrl: first.upload.url })
    await again.done

    expect(again.sent).toEqual(['HEAD'])
    await expectStored(clients.server, at, bytes)
  })

  it('begins anew when its old beginning was given up', async () => {
    const at = await place()
    const bytes = bytesFor(at, 10_000)
    const { upload } = await interrupted(bytes, tusOptions(clients.server, at))
    await upload.abort(true)

    const again = startUpload(bytes, { ...tusOptions(clients.server, at), uploadUrl: upload.url })
    await again.done

    expect(again.sent).toEqual(['HEAD', 'POST', 'PATCH 0'])
    await expectStored(clients.server, at, bytes)
  })

  it('is gone with its bytes once its user gives it up', async () => {
    const at = await place()
    const before = await clients.stored()
    const { upload } = await interrupted(bytesFor(at, 10_000), tusOptions(clients.server, at))
    const url = upload.url ?? ''

    await upload.abort(true)

    const raw = new TusRequests(clients.server)
    expect((await raw.head(url)).status).toBe(410)
    expect((await raw.patch(url, 4000, Buffer.alloc(1))).status).toBe(410)
    expect((await raw.terminate(url)).status).toBe(410)
    expect(await clients.stored()).toEqual(before)
    await expectNoDrift(clients.server)
  })

  it('cannot be given up once it is done', async () => {
    const at = await place()
    const bytes = bytesFor(at, 10)
    const { upload, done } = startUpload(bytes, tusOptions(clients.server, at))
    await done

    expect((await new TusRequests(clients.server).terminate(upload.url ?? '')).status).toBe(400)
    await expectStored(clients.server, at, bytes)
  })
})
