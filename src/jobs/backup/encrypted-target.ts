import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { Decrypter, Encrypter } from 'age-encryption'
import { BackupError } from './backup-error.ts'
import type { BackupTarget, ListedFile, WrittenFile } from './target.ts'

export interface EncryptedTargetOptions {
  /** Where the encrypted files lie. */
  place: BackupTarget
  /** For whom files are encrypted, as `age1…`. */
  recipient: string
  /** Makes what files are decrypted with, `AGE-SECRET-KEY-1…`; asked at the first that is read. @throws WrongKey */
  identity(): Promise<string>
}

/** What an encrypted file's name ends with. */
const AGE = '.age'

/** What is encrypted at once: more would keep others from the thread for longer. In bytes. */
const PIECE = 64 * 1024

/**
 * A target whose files are encrypted in the format of age (https://age-encryption.org/v1), by its own library. Manifests
 * are not, so that anybody can see what there is and what refers to what: they name no object, and hold hashes of lists only.
 */
export class EncryptedTarget implements BackupTarget {
  readonly name: string
  readonly #place: BackupTarget
  readonly #encrypter = new Encrypter()
  readonly #decrypter: () => Promise<Decrypter>

  constructor({ place, recipient, identity }: EncryptedTargetOptions) {
    this.name = place.name
    this.#place = place
    this.#encrypter.addRecipient(recipient)
    let made: Promise<Decrypter> | undefined
    const make = async () => {
      const decrypter = new Decrypter()
      decrypter.addIdentity(await identity())
      return decrypter
    }
    this.#decrypter = () => {
      made ??= make()
      return made
    }
  }

  async write(path: string, body: Readable | Uint8Array): Promise<WrittenFile> {
    const stored = storedPath(path)
    if (stored === path) return this.#place.write(path, body)
    const hash = createHash('sha256')
    let size = 0
    if (body instanceof Uint8Array) {
      await this.#place.write(stored, await this.#encrypter.encrypt(body))
      return { size: body.length, sha256: hash.update(body).digest('hex') }
    }
    body.on('error', () => {}) // it may break before it is read
    const pieces = async function* () {
      for await (const chunk of body as AsyncIterable<Uint8Array>) {
        hash.update(chunk)
        size += chunk.length
        for (let at = 0; at < chunk.length; at += PIECE) yield chunk.subarray(at, at + PIECE)
      }
    }
    const plain = Readable.toWeb(Readable.from(pieces(), { objectMode: false }))
    try {
      const encrypted = await this.#encrypter.encrypt(plain as globalThis.ReadableStream<Uint8Array>)
      await this.#place.write(stored, Readable.fromWeb(encrypted as ReadableStream))
    } catch (error) {
      body.destroy() // what was never begun to be read nobody else lets go of
      throw error
    }
    return { size, sha256: hash.digest('hex') }
  }

  async read(path: string): Promise<Readable> {
    const stored = storedPath(path)
    if (stored === path) return this.#place.read(path)
    const decrypter = await this.#decrypter()
    const encrypted = await this.#place.read(stored)
    let broken: unknown
    encrypted.once('error', (error) => {
      broken = error // that of the place is none of the file
    })
    const fault = (cause: unknown) => broken ?? this.#fault(path, cause)
    try {
      const decrypted = await decrypter.decrypt(
        Readable.toWeb(encrypted) as globalThis.ReadableStream<Uint8Array>,
      )
      const plain = inOurWords(decrypted as ReadableStream<Uint8Array>, fault)
      return Readable.from(plain, { objectMode: false }).once('close', () => encrypted.destroy())
    } catch (error) {
      encrypted.destroy()
      throw fault(error)
    }
  }

  exists(path: string): Promise<number | null> {
    return this.#place.exists(storedPath(path))
  }

  async *list(prefix: string): AsyncGenerator<ListedFile> {
    for await (const file of this.#place.list(prefix)) yield { ...file, path: pathOf(file.path) }
  }

  folders(): Promise<string[]> {
    return this.#place.folders()
  }

  async unfinishedFolders(): Promise<string[]> {
    return (await this.#place.unfinishedFolders?.()) ?? []
  }

  remove(path: string): Promise<void> {
    return this.#place.remove(storedPath(path))
  }

  removeAll(prefix: string): Promise<void> {
    return this.#place.removeAll(prefix)
  }

  removeUnfinished(prefix: string): Promise<void> {
    return this.#place.removeUnfinished(prefix)
  }

  check(): Promise<void> {
    return this.#place.check()
  }

  close(): Promise<void> {
    return this.#place.close()
  }

  #fault(path: string, cause: unknown): BackupError {
    const isOfOthers = cause instanceof Error && /no identity matched/.test(cause.message)
    return isOfOthers
      ? new BackupError('WrongKey', `${path} in ${this.name} is encrypted for another key`, { cause })
      : new BackupError('DamagedBackup', `${path} in ${this.name} is damaged: it cannot be decrypted`, {
          cause,
        })
  }
}

/** The path under which the place has a file. */
function storedPath(path: string): string {
  return isPlain(path) ? path : `${path}${AGE}`
}

function pathOf(stored: string): string {
  return stored.endsWith(AGE) ? stored.slice(0, -AGE.length) : stored
}

/** What is at the top of the target is about it; the rest of it is in folders. */
function isPlain(path: string): boolean {
  return !path.includes('/') || /^[^/]+\/manifest\.json$/.test(path)
}

async function* inOurWords(stream: ReadableStream<Uint8Array>, fault: (error: unknown) => unknown) {
  try {
    yield* stream
  } catch (error) {
    throw fault(error)
  }
}
