import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { S3Backend, type S3BackendOptions } from '../../../src/backend/s3/s3-backend.ts'
import { readConfig } from '../../../src/config/config.ts'
import type { S3Settings } from '../../../src/config/s3.ts'
import { isFull } from '../../faults/size.ts'
import { describeWithS3, newStoreBucket, s3Client, s3Env } from '../../support/s3.ts'
import { describeBackend, stream } from '../contract.ts'
import { describeAppend } from '../contract-append.ts'
import { describeParts } from '../contract-parts.ts'

const MiB = 1024 * 1024

let spoolDir: string
beforeAll(async () => {
  spoolDir = await mkdtemp(join(tmpdir(), 'strongroom-spool-'))
})
afterAll(() => rm(spoolDir, { recursive: true }))

describeWithS3('an S3 store', (s3) => {
  let store: Record<string, string>
  beforeAll(async () => {
    store = await s3Env(s3)
  })

  let opened: S3Settings
  const open = async (env: Record<string, string> = {}, limits: Partial<S3BackendOptions> = {}) => {
    const { s3: settings } = readConfig({ ...store, ...env })
    if (!settings) throw new Error('there are no settings for S3')
    opened = settings
    return new S3Backend({ ...settings, spoolDir, ...limits })
  }

  const leaveCheck = async (name: string) => {
    const client = s3Client(s3)
    const at = { Bucket: opened.bucket, Key: `${opened.prefix}${name}` }
    await client.send(new PutObjectCommand({ ...at, Body: name }))
    client.destroy()
  }

  // As it comes it has less to go wrong than below, and the server's tests with a store have it so.
  // A store lists a thousand at once: these are three pages.
  if (isFull) {
    const openBucket = async () => open({ STORAGE_S3_BUCKET: await newStoreBucket(s3) })
    describeBackend('S3Backend', openBucket, { manyEntries: 2010, leaveCheck })
  }

  const smallParts = {
    STORAGE_S3_PART_SIZE: '5242880',
    // One part in memory, one on its way out; all others in files.
    STORAGE_S3_BUFFER: '10485760',
    STORAGE_S3_REQUEST_CHECKSUM: 'when_supported',
  }
  /** Of what a store takes and gives at once. */
  const lowLimits = { copyAtOnce: 5 * MiB, keysPerPage: 50 }
  /** Below a prefix of its own, where nothing is, whatever the other tests have left in the bucket. */
  const openStore = async () => {
    const env = { ...smallParts, STORAGE_S3_PREFIX: `some/where/${randomUUID()}` }
    return () => open(env, lowLimits)
  }
  describeBackend(
    'S3Backend with a prefix, checksums, small parts and little memory',
    async () => (await openStore())(),
    { manyEntries: 120, leaveCheck },
  )
  describeAppend('S3Backend with a prefix, checksums, small parts and little memory', openStore, 5 * MiB)
  describeParts('S3Backend with a prefix, checksums, small parts and little memory', openStore, 5 * MiB)

  describe('S3Backend', () => {
    const client = s3Client(s3)
    const at = { bucket: randomUUID(), version: randomUUID() }
    let Bucket: string
    let backend: S3Backend
    beforeEach(async () => {
      Bucket = await newStoreBucket(s3)
      const env = { ...smallParts, STORAGE_S3_PREFIX: 'some/where', STORAGE_S3_BUCKET: Bucket }
      backend = await open(env, lowLimits)
    })
    afterEach(() => backend.close())
    afterAll(() => client.destroy())

    const head = ({ bucket, version } = at) =>
      client.send(new HeadObjectCommand({ Bucket, Key: `some/where/${bucket}/${version}` }))

    it('keeps an object under prefix, bucket and version, with its SHA-256 as metadata', async () => {
      const { sha256 } = await backend.write(at, Readable.from([Buffer.from('hello')]), { maxBytes: 5 })
      expect(await head()).toMatchObject({ ContentLength: 5, Metadata: { sha256 } })
    })

    it('has the SHA-256 of a large one as metadata if it was told before', async () => {
      const bytes = randomBytes(6 * MiB)
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      await backend.write(at, stream(bytes, 65_536), { maxBytes: 6 * MiB, sha256 })
      expect(await head()).toMatchObject({
        ContentLength: 6 * MiB,
        Metadata: { sha256 },
        ETag: expect.stringMatching(/-2"$/),
      })
    })

    it('copies in parts what is too large for one request, with its metadata', async () => {
      const bytes = randomBytes(13 * MiB)
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      await backend.write(at, stream(bytes, 65_536), { maxBytes: 13 * MiB, sha256 })
      const copy = { bucket: randomUUID(), version: randomUUID() }
      await backend.copy(at, copy)
      expect(await head(copy)).toMatchObject({ Metadata: { sha256 }, ETag: expect.stringMatching(/-3"$/) })
      expect(bytes.equals(await buffer(await backend.read(copy)))).toBe(true)
      await expect(backend.copy(at, copy)).rejects.toThrow()
    })

    it('takes many slow uploads at once, though there is memory for a part or two', async () => {
      const uploads = Array.from({ length: isFull ? 30 : 12 }, (_, i) => ({
        to: { bucket: at.bucket, version: randomUUID() },
        bytes: randomBytes(5 * MiB + 700_000 + i),
      }))
      let waiting = 0
      let goOn = () => {}
      const allWait = new Promise<void>((resolve) => {
        goOn = resolve
      })
      // Each has filled a part but for its last bytes, and nobody goes on before all have.
      async function* slowly(bytes: Uint8Array) {
        for (let start = 0; start < 5 * MiB - 1000; start += 60_000)
          yield bytes.subarray(start, start + 60_000)
        const sent = Math.ceil((5 * MiB - 1000) / 60_000) * 60_000
        if (++waiting === uploads.length) goOn()
        await allWait
        yield bytes.subarray(sent)
      }
      await Promise.all(
        uploads.map(({ to, bytes }) =>
          backend.write(to, Readable.from(slowly(bytes)), { maxBytes: 6 * MiB }),
        ),
      )
      for (const { to, bytes } of uploads) {
        expect(bytes.equals(await backend.readWhole(to, bytes.length))).toBe(true)
      }
      expect(await readdir(spoolDir)).toEqual([])
    })

    it('removes the file of a part whose process was killed before it had no name any more', async () => {
      await writeFile(join(spoolDir, randomUUID()), '')
      await (await open()).close()
      expect(await readdir(spoolDir)).toEqual([])
    })
  })
})
