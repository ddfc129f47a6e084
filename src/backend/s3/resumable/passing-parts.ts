import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { type CompletedPart, PutObjectCommand } from '@aws-sdk/client-s3'
import { base64OfHex } from '../../../model/checksums.ts'
import { hasCode, StorageError } from '../../../model/errors.ts'
import type { BatchSize } from '../../batch-size.ts'
import { newCheckName } from '../../check-name.ts'
import { drain } from '../../drain.ts'
import type { PartOptions } from '../../resumable-backend.ts'
import type { ObjectKeys } from '../object-keys.ts'
import { deleteObject } from '../objects.ts'
import type { Store } from '../store.ts'
import { storeCode } from '../store-errors.ts'
import type { ByteSender } from '../writing/byte-sender.ts'
import type { PartTarget } from '../writing/multipart-upload.ts'
import { PassingPart } from '../writing/passing-part.ts'

export interface PassingPartsOptions {
  store: Store
  keys: ObjectKeys
  sender: ByteSender
  batchSize: BatchSize
}

/** A part whose bytes the store has, and their SHA-256, in hexadecimal digits. */
export type PassedPart = CompletedPart & { sha256: string }

/** So much is given to the store at once, in bytes. At the lowest rate of a body it comes within 16 seconds. */
const BATCH = 8192

/** What the store says of bytes that it has, by which they are known to be those that were sent. */
type Digest = 'sha256' | 'md5'

/**
 * Parts that go on to the store as they come from their clients, whatever their length. The store gets them under a
 * signature that is not of their bytes, which nobody knows before; so what it has is compared with what was sent, by its
 * checksum, or by the MD5 that the ETag is at most stores. Whether it takes them so, and says one of both, is tried with a
 * few bytes before the first.
 */
export class PassingParts {
  readonly #options: PassingPartsOptions
  #count = 0
  /** Null when the store does not take bytes so, or says nothing of them. */
  #digest: Promise<Digest | null> | undefined
  #areRefused = false

  constructor(options: PassingPartsOptions) {
    this.#options = options
  }

  /** Whether there is a connection for another one: each keeps one for as long as its client takes. */
  get hasRoom(): boolean {
    return this.#count < this.#options.store.settings.connections
  }

  /** Whether another one may be, for all that is known now: the store may not have been asked. */
  get mayBeTaken(): boolean {
    return this.hasRoom && !this.#areRefused
  }

  /** Whether the store takes them. While it does not answer, not. */
  async areTaken(): Promise<boolean> {
    try {
      this.#digest ??= this.#tryOut()
      this.#areRefused = (await this.#digest) === null
      return !this.#areRefused
    } catch {
      this.#digest = undefined // the next one asks again
      return false
    }
  }

  /**
   * Sends one, when there is room, and they `areTaken`. It is tried again as long as its first bytes are at hand.
   *
   * @throws EntityTooLarge when there are more bytes than `size`, Aborted when there are fewer; StorageFull,
   *   BackendUnavailable, BackendRefused, the stream's own error
   */
  async pass(target: PartTarget, body: Readable, options: PartOptions): Promise<PassedPart> {
    this.#count++
    try {
      const passed = await this.#options.batchSize.during(() => this.#send(target, body, options))
      if (await this.#isWhatWasSent(passed, options)) return passed
      const cause = new Error('The store has other bytes of a part than were sent')
      throw new StorageError('BackendUnavailable', { cause })
    } finally {
      this.#count--
    }
  }

  async #send(target: PartTarget, body: Readable, { size }: PartOptions): Promise<PassedPart> {
    const { sender, batchSize } = this.#options
    const part = new PassingPart({ size, mostKept: batchSize.bytes() })
    const breaker = new AbortController()
    const sending = sender.pass(part, target, { size, signal: breaker.signal })
    sending.catch((error: unknown) => part.fail(error))
    const hash = createHash('sha256')
    try {
      const drained = await drain(body, {
        maxBytes: size,
        batchBytes: () => BATCH,
        tap: (chunk) => hash.update(chunk),
        write: (batch) => part.take(batch),
      })
      if (drained.size < size) throw new StorageError('Aborted')
      part.end()
    } catch (error) {
      breaker.abort()
      await sending.catch(() => {})
      throw error
    }
    return { ...(await sending), sha256: hash.digest('hex') }
  }

  async #isWhatWasSent(passed: PassedPart, { md5 }: PartOptions): Promise<boolean> {
    if ((await this.#digest) === 'sha256') return passed.ChecksumSHA256 === base64OfHex(passed.sha256)
    return !md5 || passed.ETag === `"${await md5()}"`
  }

  /** @throws BackendUnavailable */
  async #tryOut(): Promise<Digest | null> {
    const { store, keys } = this.#options
    const name = newCheckName()
    const Key = keys.ofCheck(name)
    const command = new PutObjectCommand({
      Bucket: store.bucket,
      Key,
      Body: Readable.from([Buffer.from(name)]),
      ContentLength: name.length,
      ...(store.sendsChecksums && { ChecksumAlgorithm: 'SHA256' }),
    })
    try {
      const { ETag, ChecksumSHA256 } = await store.send(command, { isPassing: true })
      await deleteObject(store, Key)
      const digest = (algorithm: Digest) => createHash(algorithm).update(name).digest('hex')
      if (ChecksumSHA256 === base64OfHex(digest('sha256'))) return 'sha256'
      return ETag === `"${digest('md5')}"` ? 'md5' : null
    } catch (error) {
      if (hasCode(error, 'BackendRefused') || storeCode(error) === 'NotImplemented') return null
      throw error
    }
  }
}
