import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import { requireCaller } from '../auth/caller.ts'
import { type AppContext, logTarget } from '../env.ts'
import { answerWith } from '../middleware/error-response.ts'
import type { Services } from '../services.ts'
import type { S3Address } from './address.ts'
import type { Payload } from './signature/payload.ts'
import { verifiedPayload } from './signature/verified.ts'
import { s3Document, XML_TYPE, type XmlContent } from './xml-writer.ts'

/** What a request asks for. Each has a file. */
export interface Operation {
  /** For policies and the log (wire §6.10). */
  name: string
  /** May write past Hono (`RESPONSE_ALREADY_SENT`). */
  handle(request: S3Request): Promise<Response>
}

/** What all operations know of the server. */
export interface S3Server {
  services: Services
  region: string
}

/** A request of the S3 protocol: what it is about, and how it is answered. */
export class S3Request {
  readonly c: AppContext
  readonly services: Services
  readonly region: string
  /** Empty where the request is about none. */
  readonly bucket: string
  readonly key: string
  /** Decoded, the first of each name. */
  readonly query: ReadonlyMap<string, string>

  constructor(c: AppContext, server: S3Server, address: S3Address, query: ReadonlyMap<string, string>) {
    this.c = c
    this.services = server.services
    this.region = server.region
    this.bucket = address.bucket
    this.key = address.key
    this.query = query
    if (address.level !== 'service') logTarget(c, address.bucket, address.key || undefined)
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

  /** What the signature says of the body. Known once `caller` has been. */
  get payload(): Payload {
    const payload = verifiedPayload(this.c.env)
    if (!payload) throw new StorageError('InternalError') // an operation that reads before it asks who sends
    return payload
  }

  /** An answer in XML, its root in S3's namespace (wire §6.6). */
  xml(root: string, content: XmlContent, headers: Record<string, string> = {}): Response {
    return answerWith(this.c, {
      status: 200,
      headers: { 'Content-Type': XML_TYPE, ...headers },
      body: s3Document(root, content),
    })
  }

  /** An answer without a body. */
  empty(status: 200 | 204, headers: Record<string, string> = {}): Response {
    return this.c.body(null, status, headers)
  }
}
