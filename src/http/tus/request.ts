import type { Handler } from 'hono'
import type { Logger } from 'pino'
import type { UploadAddress } from '../../database/queries/resumable-uploads.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { ToldStatus, Uploader } from '../../storage/resumable/resumable-uploads.ts'
import { anonymousCaller, requireCaller } from '../auth/caller.ts'
import { clientOf } from '../auth/share-of.ts'
import { type AppContext, type Env, logAssembled, logTarget } from '../env.ts'
import type { Services } from '../services.ts'
import { checkVersion } from './headers.ts'
import { tusError } from './protocol.ts'
import { parseUploadId } from './upload-id.ts'

/** A way to prove who goes on with an upload: a login, or the token of a signed upload URL. */
export interface Variant {
  path: string
  /** After `storage.tus.upload.create` and the like (wire §5.1). */
  suffix: string
  isSigned: boolean
}

/** What is done with an upload. Each has a file. */
export type Verb = (request: TusRequest) => Promise<Response>

/** A request of the protocol, whose login and version are good. */
export class TusRequest {
  readonly c: AppContext
  readonly services: Services
  readonly variant: Variant
  readonly #caller: Caller

  constructor(c: AppContext, services: Services, variant: Variant, caller: Caller) {
    this.c = c
    this.services = services
    this.variant = variant
    this.#caller = caller
  }

  /** Which upload its URL names. @throws InvalidUploadId, NoSuchUpload */
  address(): UploadAddress {
    return parseUploadId(this.c.req.param('id') ?? '')
  }

  /**
   * Whose share an upload counts to. Who has the token of a signed URL may be a stranger to its signer: what he begins is not
   * held against him.
   */
  share({ caller, isSigned }: Uploader): string | null {
    return clientOf(this.c.env, isSigned ? null : caller, this.services.trustProxy)
  }

  /** Remembers for whoever hears of the request's end whether it has made the object. */
  note({ made }: ToldStatus): void {
    this.c.env.notes.isPart = made === undefined
    if (made) logAssembled(this.c, made)
  }

  /** Says who asks, for this object. @throws InvalidRequest, InvalidJWT, ExpiredToken, InvalidSignature, LinkRevoked */
  async identify({ bucket, name }: { bucket: string; name: string }): Promise<Uploader> {
    const { c, services } = this
    const { isSigned } = this.variant
    const caller = this.#caller
    logTarget(c, bucket, name)
    if (isSigned) c.env.notes.via = 'signed'
    const gone = goneSignal(c)
    if (!isSigned) return { caller, isSigned, upsert: c.req.header('x-upsert') === 'true', gone }
    const token = c.req.header('x-signature')
    if (!token) throw new StorageError('InvalidRequest', { message: 'Missing x-signature header' })
    const grant = await services.urls.checkUpload(token, { bucket, name })
    const { upsert, bucketUid } = grant
    c.env.notes.user = grant.owner
    return { caller: services.urls.signer(caller, grant), isSigned, upsert, bucketUid, gone }
  }
}

/**
 * Checks what all requests have in common, and renders what goes wrong from there on.
 *
 * @param action the last word of the operation's name in the log
 */
export function verbHandler(
  services: Services,
  logger: Logger,
  variant: Variant,
  action: string,
  verb: Verb,
): Handler<Env> {
  const operation = `storage.tus.upload.${action}${variant.suffix}`
  return async (c) => {
    // A bad login is refused in JSON like everywhere (wire §5.8).
    const caller = variant.isSigned
      ? anonymousCaller(c, services, operation)
      : await requireCaller(c, services, operation)
    try {
      checkVersion(c.env.incoming)
      return await verb(new TusRequest(c, services, variant, caller))
    } catch (error) {
      return tusError(c, error, logger, action === 'get')
    }
  }
}

/** Aborted when nobody waits for the answer any more. */
function goneSignal(c: AppContext): AbortSignal {
  const gone = new AbortController()
  c.env.outgoing.once('close', () => gone.abort())
  return gone.signal
}
