import type { IncomingMessage } from 'node:http'
import type { Logger } from 'pino'
import type { Md5Thread } from '../../lib/md5-thread.ts'
import type { Services } from '../services.ts'
import type { RequestContext, Surface } from '../surface.ts'
import { pathAt, S3_PATH } from './address.ts'
import { s3Error } from './errors.ts'
import { takeHoistedHeaders } from './hoisted-headers.ts'
import { s3Routes } from './routes.ts'
import type { Credentials } from './signature/credentials.ts'
import { isPresigned } from './signature/query.ts'
import { rememberPayload } from './signature/verified.ts'
import { SignatureVerifier } from './signature/verify.ts'
import { signedAddresses } from './signed-addresses.ts'

export interface S3SurfaceOptions {
  region: string
  /** A host of its own, in lower case (wire §6.1). */
  domain: string | undefined
  credentials: Credentials
  /** With these a session's requests are signed (wire §6.1). */
  sessionSecrets: string[]
  md5Thread: Md5Thread
  /** Whether it is alone on its port, where buckets begin at `/`. */
  isAtRoot?: boolean
}

/** Objects and buckets for S3 clients (wire §6). */
export function s3Surface(services: Services, options: S3SurfaceOptions, logger: Logger): Surface {
  const { region, credentials, sessionSecrets, domain, md5Thread, isAtRoot = false } = options
  const { trustProxy } = services
  const signatures = new SignatureVerifier({
    region,
    credentials,
    sessionSecrets,
    tokens: services.tokens,
    addresses: (request) => signedAddresses(request, services),
    logger,
    now: () => new Date(),
  })
  return {
    name: 's3',
    prefix: S3_PATH,
    ...((isAtRoot || domain !== undefined) && {
      pathOf: (incoming, sent) => pathAt({ domain, isAtRoot, trustProxy }, incoming, sent),
    }),
    routes: s3Routes({ services, region, signatures, md5Thread }),
    async authenticate(request: RequestContext) {
      const { notes, target } = request
      notes.via = isPresigned(target.query) ? 'signed' : 'key'
      const { identity, payload } = await signatures.verify(request)
      takeHoistedHeaders(request)
      rememberPayload(request, payload)
      return identity
    },
    // A form's policy is signed beforehand as a URL is.
    isLink: ({ incoming, target }) => isPresigned(target.query) || isForm(incoming),
    error: s3Error,
    headers: ({ requestId }) => ({ 'x-amz-request-id': requestId }),
  }
}

function isForm({ headers }: IncomingMessage): boolean {
  return headers['content-type']?.startsWith('multipart/form-data') === true
}
