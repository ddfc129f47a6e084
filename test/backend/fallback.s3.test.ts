import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { CreateMultipartUploadCommand } from '@aws-sdk/client-s3'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Unfinished } from '../../src/backend/backend.ts'
import { FallbackBackend } from '../../src/backend/fallback.ts'
import { LocalBackend } from '../../src/backend/local/local-backend.ts'
import { openBackend } from '../../src/backend/open.ts'
import type { ResumableBackend } from '../../src/backend/resumable-backend.ts'
import { readConfig } from '../../src/config/config.ts'
import { describeWithS3, s3Client, s3Env } from '../support/s3.ts'
import { newLocation } from './contract.ts'

describeWithS3('FallbackBackend with an S3 store', (s3) => {
  const MiB = 1024 * 1024
  let root: string
  let env: Record<string, string>
  let store: ResumableBackend
  let folder: ResumableBackend
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'strongroom-fallback-'))
    env = await s3Env(s3)
    store = await openBackend(
      's3',
      readConfig({ ...env, STORAGE_DATA_DIR: root, STORAGE_S3_REDIRECT: 'true' }),
    )
    folder = new LocalBackend({ root, fsync: false })
  })
  afterEach(async () => {
    await store.close()
    await folder.close()
    await rm(root, { recursive: true, force: true })
  })

  describe.each(['current', 'previous'])('as the %s one', (place) => {
    let backend: FallbackBackend
    beforeEach(() => {
      const [current, previous] = place === 'current' ? [store, folder] : [folder, store]
      backend = new FallbackBackend({ current, previous })
    })

    it.each([0, 1000, 20 * MiB])('reads and copies %i bytes wherever they are', async (size) => {
      const bytes = randomBytes(size)
      for (const at of [store, folder]) {
        const [from, to] = [newLocation(), newLocation()]
        await at.write(from, bytes, { maxBytes: size })
        await backend.copy(from, to)
        await backend.remove(from)
        expect(bytes.equals(await buffer(await backend.read(to, { size })))).toBe(true)
        expect([await store.exists(from), await folder.exists(from)]).toEqual([false, false])
        expect(await (place === 'current' ? store : folder).exists(to)).toBe(true)
      }
    })

    it('abandons an unfinished write of the store', async () => {
      const at = newLocation()
      const client = s3Client(s3)
      const Key = `${at.bucket}/${at.version}`
      await client.send(new CreateMultipartUploadCommand({ Bucket: env.STORAGE_S3_BUCKET, Key }))
      client.destroy()
      const unfinished = async (of: ResumableBackend) => {
        const found: Unfinished[] = []
        for await (const one of of.unfinished()) found.push(one)
        return found
      }
      const [write] = await unfinished(backend)
      expect(write?.location).toEqual(at)
      if (write) await backend.abandon(write)
      expect(await unfinished(store)).toEqual([])
      if (write) await backend.abandon(write) // once more is a success
    })
  })

  it('gives a direct address to what the store has, and none to what is still in the folder', async () => {
    const backend = new FallbackBackend({ current: store, previous: folder })
    const [moved, waiting] = [newLocation(), newLocation()]
    const bytes = randomBytes(2 * MiB)
    await store.write(moved, bytes, { maxBytes: bytes.length })
    await folder.write(waiting, bytes, { maxBytes: bytes.length })
    const headers = { 'Content-Type': 'text/plain' }
    const url = await backend.directUrl(moved, bytes.length, headers)
    expect(bytes.equals(Buffer.from(await (await fetch(String(url))).arrayBuffer()))).toBe(true)
    expect(await backend.directUrl(waiting, bytes.length, headers)).toBeNull()
  })
})
