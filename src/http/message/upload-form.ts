import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { Busboy, type BusboyHeaders } from '@fastify/busboy'
import { deferred } from '../../lib/deferred.ts'
import { StorageError } from '../../model/errors.ts'
import { parseContentType } from '../../storage/object/content-type.ts'
import type { LateFields, UploadContent } from '../../storage/writing/upload-request.ts'
import { expectInOneGo } from '../connection/body-pace.ts'
import { DeclaredHashes, hashInHex } from './declared-hashes.ts'
import { FormFields, MAX_FIELD_BYTES } from './form-fields.ts'
import { FormFraming } from './form-framing.ts'
import { declaredLength } from './upload-headers.ts'

/** What a protocol's forms are like. */
export interface FormKind {
  /** Beside the file. */
  maxFields: number
  /**
   * Of all that stands before the file, with what means nothing. In bytes. Nobody has been asked yet whether they may upload,
   * and it is kept in memory.
   */
  maxBytesBeforeFile: number
  /** Whether a part is the file, by its head. */
  isFile(field: string | undefined, contentType: string | undefined, fileName: string | undefined): boolean
}

/** Wire §3.3. */
const REST_FORM: FormKind = {
  maxFields: 24,
  maxBytesBeforeFile: 2 * MAX_FIELD_BYTES,
  isFile: (field, contentType, fileName) =>
    // storage-js puts the file into a part whose name is empty.
    field === '' || fileName !== undefined || contentType === 'application/octet-stream',
}

/** What a form says of its object. */
export type FormContent = Omit<UploadContent, 'robotsTag'>

/**
 * A form with a file (RFC 7578; wire §3.3), read in two halves: up to where its file begins, which is when `content`
 * resolves; and from there on at the speed at which somebody reads the file, to the form's end, which is when
 * `content.body.late()` does. `FormFraming` watches each byte before the parser has it.
 *
 * Whatever goes wrong ends all of it at once (`#fail`), and is told to whoever waits: for the file, for its bytes, or for
 * what stands behind it.
 */
export class UploadForm {
  readonly #incoming: IncomingMessage
  readonly #admit: () => void
  readonly #kind: FormKind
  readonly #framing: FormFraming
  readonly #parser: InstanceType<typeof Busboy>
  readonly #fields = new FormFields()
  readonly #content = deferred<FormContent>()
  readonly #late = deferred<LateFields>()
  readonly #beginningIsHere: () => void
  #state: 'parsing' | 'parsed' | 'failed' = 'parsing'
  /** Counted from 0. */
  #part = -1
  /** The file's bytes, once they begin. */
  #file: Readable | undefined
  #bytesBeforeFile = 0
  #before: ReadonlyMap<string, string> = new Map()
  #fileName = ''

  /**
   * What stands before the file has to come in one go.
   *
   * @param admit takes a place for the upload
   * @throws InvalidRequest without a boundary
   */
  constructor(incoming: IncomingMessage, admit: () => void, kind: FormKind = REST_FORM) {
    this.#incoming = incoming
    this.#admit = admit
    this.#kind = kind
    this.#beginningIsHere = expectInOneGo(incoming)
    try {
      this.#framing = new FormFraming(incoming.headers['content-type'] ?? '', kind.maxFields)
      this.#parser = new Busboy({
        headers: incoming.headers as BusboyHeaders, // the content type is there: the caller has looked at it
        limits: { fields: kind.maxFields, fieldSize: MAX_FIELD_BYTES, files: 1 },
        isPartAFile: (...part) => this.#isFile(...part),
      })
    } catch (cause) {
      throw malformed('The multipart body has no boundary', cause)
    }
    this.#late.promise.catch(() => {}) // whoever streams the file hears of it there first
    this.#listen()
  }

  /** Rejects with InvalidMimeType, InvalidHeaderChar, EntityTooLarge, Aborted; InvalidRequest also when there is no file. */
  get content(): Promise<FormContent> {
    return this.#content.promise
  }

  /** What stands before the file, by names in lower case. Known once `content` is. */
  get fields(): ReadonlyMap<string, string> {
    return this.#before
  }

  /** How the client calls the file, without folders; '' where it says nothing. Known once `content` is. */
  get fileName(): string {
    return this.#fileName
  }

  #listen(): void {
    const incoming = this.#incoming
    const parser = this.#parser
    // Busboy's type does not say that a field may come without a name.
    parser.on('field', (name: string = '', value, _nameTruncated, isTruncated) => {
      // What the parser has begun to read may hold more of them.
      if (this.#state !== 'failed') this.#orFail(() => this.#fields.add(name, value, isTruncated))
    })
    parser.on('file', (_field, stream, fileName) => this.#orFail(() => this.#beginFile(stream, fileName)))
    parser.on('filesLimit', () => this.#fail(malformed('A form may hold one file')))
    parser.on('fieldsLimit', () => this.#fail(malformed(`A form may hold ${this.#kind.maxFields} fields`)))
    parser.on('error', (cause) => this.#fail(malformed('The multipart body is malformed', cause)))
    parser.on('finish', () => this.#endParsing())
    incoming.on('end', () => this.#orFail(() => this.#end()))
    incoming.on('error', (cause) =>
      this.#fail(cause instanceof StorageError ? cause : new StorageError('Aborted', { cause })),
    )
    incoming.on('close', () => {
      if (!incoming.readableEnded) this.#fail(new StorageError('Aborted'))
    })
    incoming.on('data', this.#watch).pipe(parser) // the parser sees nothing that is not watched
  }

  /** The parser asks about each part, before it tells of it. */
  #isFile(field: string | undefined, contentType: string | undefined, fileName: string | undefined): boolean {
    this.#part++
    return this.#kind.isFile(field, contentType, fileName)
  }

  readonly #watch = (bytes: Buffer): void => {
    this.#orFail(() => {
      if (!this.#file) this.#countBeforeFile(bytes.length)
      this.#framing.write(bytes)
    })
  }

  /** The file may begin in what has just come, so that it counts from the next time on. */
  #countBeforeFile(length: number): void {
    if (this.#bytesBeforeFile > this.#kind.maxBytesBeforeFile) {
      throw new StorageError('EntityTooLarge', { message: 'The form has too much before its file' })
    }
    this.#bytesBeforeFile += length
  }

  #beginFile(stream: Readable, fileName: string | undefined): void {
    this.#file = stream
    this.#before = this.#fields.all()
    this.#fileName = fileName ?? ''
    this.#beginningIsHere()
    stream.on('error', () => {}) // it may break before anyone reads it, or without anyone ever reading it
    const { contentType, cacheControl, contentEncoding, userMetadata, ...attributes } = this.#fields.known()
    this.#content.resolve({
      // The parser drops its parameters, and says text/plain where there is none.
      contentType: contentType ?? parseContentType(this.#framing.typeOf(this.#part)),
      cacheControl,
      contentEncoding,
      userMetadata,
      ...attributes,
      body: {
        stream,
        hasArrived: () => this.#incoming.complete,
        expectBeginning: () => expectInOneGo(this.#incoming),
        admit: this.#admit,
        declaredSize: null,
        requestLength: declaredLength(this.#incoming),
        late: async (written) => {
          const late = await this.#late.promise
          this.#declaredHashes().verify(written)
          return late
        },
        discard: () => this.#discard(stream),
      },
    })
  }

  /** Of the file; what headers of HTTP say of the content is of the whole form. @throws InvalidChecksum */
  #declaredHashes(): DeclaredHashes {
    return new DeclaredHashes([
      ...hashInHex(this.#incoming.headers['x-content-sha256']?.toString(), 'x-content-sha256'),
      ...hashInHex(this.#fields.contentHash, 'content_hash'),
    ])
  }

  #endParsing(): void {
    if (this.#state === 'failed') return
    this.#state = 'parsed'
    this.#incoming.resume() // what stands behind the last part is not for the parser
    this.#orFail(() => this.#end())
  }

  /** Once the parser has all that is for it, and the request has ended. */
  #end(): void {
    if (this.#state !== 'parsed' || !this.#incoming.readableEnded) return
    this.#framing.end()
    if (!this.#file) throw malformed('The form holds no file')
    this.#late.resolve(this.#fields.known())
  }

  #discard(stream: Readable): void {
    this.#incoming.unpipe(this.#parser)
    stream.destroy()
    this.#parser.destroy()
  }

  #orFail(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.#fail(error as Error) // what is thrown here is a StorageError
    }
  }

  #fail(error: Error): void {
    if (this.#state === 'failed') return
    this.#state = 'failed'
    this.#incoming.off('data', this.#watch).unpipe(this.#parser)
    this.#late.reject(error)
    // Told at once, for the parser is about to tell the file's reader the same in its own words.
    this.#file?.emit('error', error)
    this.#file?.destroy(error)
    this.#content.reject(error)
  }
}

function malformed(message: string, cause?: unknown): StorageError {
  return new StorageError('InvalidRequest', { message, cause })
}
