import { z } from 'zod'
import { hasCode, StorageError } from '../../../model/errors.ts'
import type { NumberClaim } from '../../resumable-backend.ts'
import type { Store } from '../store.ts'
import { abortUpload, createUpload } from '../writing/multipart-upload.ts'

/** Of so many versions it is remembered which upload of the store is theirs; of others it is found again. */
const MOST_KNOWN = 10_000

/**
 * The multipart uploads of the store whose parts versions are to be made of: one for each version, which all servers use.
 * Who comes first makes it, and notes it for all.
 */
export class StoreUploads {
  readonly #store: Store
  /** Those that were begun here, by key, the oldest first. Null when the store has none any more. */
  readonly #known = new Map<string, Promise<string> | null>()

  constructor(store: Store) {
    this.#store = store
  }

  /** Whether there may be one: not when the store has given it up, or another backend has noted something. */
  mayBe(key: string, { notes }: NumberClaim): boolean {
    return this.#known.get(key) !== null && (notes === null || uploadIn(notes) !== null)
  }

  /**
   * The id of the version's upload, which is begun if need be.
   *
   * @throws NoSuchUpload when the version has ended; BackendUnavailable, BackendRefused
   */
  async of(key: string, claim: NumberClaim): Promise<string> {
    return claim.notes === null ? this.#begunHere(key, claim) : uploadOfAll(claim.notes)
  }

  /** The store has it no more. */
  lose(key: string): void {
    this.#remember(key, null)
  }

  /** The version has ended. */
  forget(key: string): void {
    this.#known.delete(key)
  }

  #begunHere(key: string, claim: NumberClaim): Promise<string> {
    const known = this.#known.get(key)
    if (known) return known
    const begun = this.#begin(key, claim)
    this.#remember(key, begun)
    begun.catch(() => {
      if (this.#known.get(key) === begun) this.forget(key)
    })
    return begun
  }

  /** Begins one, and makes it that of the version; or takes the one that another server has begun. */
  async #begin(key: string, claim: NumberClaim): Promise<string> {
    const uploadId = await createUpload(this.#store, key)
    // What is not wanted goes with the version; or when the cleanup finds it.
    const giveUp = () => abortUpload(this.#store, key, uploadId).catch(() => {})
    try {
      const noted = uploadOfAll(await claim.note(JSON.stringify({ uploadId })))
      if (noted !== uploadId) await giveUp()
      return noted
    } catch (error) {
      // After any other failure it may be noted.
      if (hasCode(error, 'NoSuchUpload')) await giveUp()
      throw error
    }
  }

  #remember(key: string, upload: Promise<string> | null): void {
    const [oldest] = this.#known.keys()
    if (this.#known.size >= MOST_KNOWN && oldest !== undefined) this.#known.delete(oldest)
    this.#known.set(key, upload)
  }
}

const schema = z.strictObject({ uploadId: z.string() })

/** What is noted for all parts of a version. Null when that is another backend's note. */
function uploadIn(notes: string): string | null {
  try {
    return schema.parse(JSON.parse(notes)).uploadId
  } catch {
    return null
  }
}

/** @throws BackendUnavailable when another backend has noted something */
function uploadOfAll(notes: string): string {
  const uploadId = uploadIn(notes)
  if (uploadId === null) throw new StorageError('BackendUnavailable')
  return uploadId
}
