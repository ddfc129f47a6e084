import { hash } from 'node:crypto'
import type { Md5Thread } from '../../lib/md5-thread.ts'
import { readBounded } from '../../lib/streams.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import { nameOfKey } from '../../storage/object/folder-marker.ts'
import { callerOf, requireCaller } from '../auth/caller.ts'
import { clientOf } from '../auth/share-of.ts'
import { expectInOneGo } from '../connection/body-pace.ts'
import { type AppContext, logTarget } from '../env.ts'
import { answerWith } from '../middleware/error-response.ts'
import type { Services } from '../services.ts'
import type { S3Address } from './address.ts'
import { RunningBodyDigests } from './body-digests.ts'
import { type DecodedBody, decodedBody } from './decoded-body.ts'
import type { Payload } from './signature/payload.ts'
import { checkPolicy, type PostPolicy } from './signature/post-policy.ts'
import { verifiedPayload } from './signature/verified.ts'
import type { SignatureVerifier } from './signature/verify.ts'
import { readXml, type XmlElement } from './xml-reader.ts'
import { answerDocument, S3_NAMESPACE, type XmlContent } from './xml-writer.ts'

/** What a request asks for. Each has a file. */
export interface Operation {
  /** For policies and the log (wire §6.10). */
  name: string
  /** Whether it is about the version that `versionId` names, if the query has that. */
  ofVersions?: true
  /** May write past Hono (`RESPONSE_ALREADY_SENT`). */
  handle(request: S3Request): Promise<Response>
}

/** What all operations know of the server. */
export interface S3Server {
  services: Services
  region: string
  signatures: SignatureVerifier
  md5Thread: Md5Thread
}

/** As with S3: room for a thousand of the longest keys. */
const MAX_XML_BYTES = 2 * 1024 * 1024

/** A request of the S3 protocol: what it is about, and how it is answered. */
export class S3Request {
  readonly c: AppContext
  readonly services: Services
  readonly region: string
  /** Empty where the request is about none. */
  readonly bucket: string
  readonly key: string
  /** Of the object that the key means; only S3 clients have keys that end with a slash (decision 0050). */
  readonly name: string
  /** Decoded, the first of each name. */
  readonly query: ReadonlyMap<string, string>
  readonly #server: S3Server

  constructor(c: AppContext, server: S3Server, address: S3Address, query: ReadonlyMap<string, string>) {
    this.c = c
    this.#server = server
    this.services = server.services
    this.region = server.region
    this.bucket = address.bucket
    this.key = address.key
    this.name = nameOfKey(address.key)
    this.query = query
    if (address.level !== 'service') logTarget(c, address.bucket, this.name || undefined)
  }

  /** One header; of one that came more than once, all with commas. */
  header(name: string): string | undefined {
    return this.c.env.incoming.headers[name]?.toString()
  }

  /**
   * Verifies the signature, and says who asks for the operation.
   *
   * @throws as `SignatureVerifier.verify`
   */
  caller(): Promise<Caller> {
    const { operation = '' } = this.c.env.notes // the routes have set it
    return requireCaller(this.c, this.services, operation)
  }

  /**
   * Who has signed the policy of a form, and what it allows (wire §6.8).
   *
   * @param fields by their names in lower case, all of them but the file
   * @throws SlowDown, and as `SignatureVerifier.verifyForm`, `checkPolicy`
   */
  async formCaller(fields: ReadonlyMap<string, string>): Promise<{ caller: Caller; policy: PostPolicy }> {
    const { signatures, services } = this.#server
    const { operation = '' } = this.c.env.notes
    this.c.env.notes.via = 'signed'
    const identity = await signatures.verifyForm(fields).catch((error: unknown) => {
      services.rates?.count(this.c.env, null, operation)
      throw error
    })
    const policy = checkPolicy({ fields, bucket: this.bucket }, new Date())
    return { caller: callerOf(this.c, services, identity, operation), policy }
  }

  /** Whose share of what a process has it counts to. @param caller null before it is known who signed the form */
  client(caller: Caller | null): string | null {
    return clientOf(this.c.env, caller, this.services.trustProxy)
  }

  /** For the MD5 of long bodies. */
  get md5Thread(): Md5Thread {
    return this.#server.md5Thread
  }

  /** What the signature says of the body. Known once `caller` has been. */
  get payload(): Payload {
    const payload = verifiedPayload(this.c.env)
    if (!payload) throw new StorageError('InternalError') // an operation that reads before it asks who sends
    return payload
  }

  /** The body without S3's own framing, once `caller` has been. Nothing is read of it yet. @throws InvalidRequest */
  body(): DecodedBody {
    return decodedBody(this.c.env.incoming, this.payload)
  }

  /**
   * Reads a body that is short: all of it, and it is the one that was signed, and whose digests the client sends.
   *
   * @throws BodyTooLarge, RequestTimeout, InvalidDigest, InvalidRequest, ContentHashMismatch, BadDigest, and as `AwsChunkedBody` ends
   */
  async readBody(): Promise<Buffer> {
    const { incoming } = this.c.env
    const body = this.body()
    const { length, trailers } = body
    const tooLarge = () => new StorageError('BodyTooLarge')
    if (length !== null && length > MAX_XML_BYTES) throw tooLarge()
    const digests = new RunningBodyDigests(incoming.headers, this.payload)
    const stream = digests.watch(body, this.md5Thread)
    expectInOneGo(incoming)
    try {
      const bytes = await readBounded(stream, MAX_XML_BYTES, tooLarge).catch((cause: unknown) => {
        throw cause instanceof StorageError ? cause : new StorageError('Aborted', { cause })
      })
      await digests.verify({ size: bytes.length, sha256: hash('sha256', bytes) }, trailers)
      return bytes
    } finally {
      digests.leave()
    }
  }

  /** @param root what the document's root has to be called @throws MalformedXML, and as `readBody` */
  async readXml(root: string): Promise<XmlElement> {
    return readXml(await this.readBody(), root)
  }

  /** An answer in XML, its root in S3's namespace (wire §6.6). */
  xml(root: string, content: XmlContent, headers: Record<string, string> = {}): Response {
    const { type, text } = answerDocument(this.header('accept'), root, content, S3_NAMESPACE)
    return answerWith(this.c, {
      status: 200,
      headers: { 'Content-Type': type, ...headers },
      body: text,
    })
  }

  /** An answer without a body. */
  empty(status: 200 | 204, headers: Record<string, string> = {}): Response {
    return this.c.body(null, status, headers)
  }
}
