import { Hono } from 'hono'
import type { Logger } from 'pino'
import type { Env } from '../env.ts'
import { jsonError } from '../message/json-error.ts'
import type { Services } from '../services.ts'
import type { Surface } from '../surface.ts'
import { auditRoutes } from './audit.ts'
import { backupRoutes } from './backups.ts'
import { bucketRoutes } from './bucket.ts'
import { bucketLifecycleRoutes } from './bucket-lifecycle.ts'
import { credentialRoutes } from './credential.ts'
import { eventRoutes } from './events.ts'
import { fileRoutes } from './file.ts'
import { HEALTH_PATHS, healthRoutes } from './health.ts'
import { homeRoutes } from './home.ts'
import { HotGet } from './hot-get.ts'
import { lifecycleRoutes } from './lifecycle.ts'
import { listRoutes } from './list.ts'
import { lockRoutes } from './locks.ts'
import { metadataRoutes } from './metadata.ts'
import { moveCopyRoutes } from './move-copy.ts'
import { namedUploadRoutes } from './named-upload.ts'
import { objectRoutes } from './object.ts'
import { objectInfoRoutes } from './object-info.ts'
import { shareRoutes } from './share.ts'
import { signRoutes } from './sign.ts'
import { trashRoutes } from './trash.ts'
import { versionRoutes } from './versions.ts'
import { webhookRoutes } from './webhook.ts'

/** Objects and buckets in JSON, at every path that is no other protocol's. */
export function restSurface(services: Services, logger: Logger): Surface {
  const { tokens, supabaseCompat } = services
  const hotGet = new HotGet(services)
  return {
    name: 'rest',
    prefix: '',
    routes: new Hono<Env>()
      .route('/', homeRoutes(services))
      .route('/', healthRoutes(services))
      .route('/', bucketRoutes(services))
      .route('/', bucketLifecycleRoutes(services))
      // Fixed words win over bucket names (wire §3.2), so the routes with the most of them stand first.
      .route('/', listRoutes(services))
      .route('/', signRoutes(services))
      .route('/', objectInfoRoutes(services))
      .route('/', moveCopyRoutes(services))
      .route('/', objectRoutes(services))
      .route('/', namedUploadRoutes(services))
      .route('/', fileRoutes(services))
      .route('/', metadataRoutes(services))
      .route('/', versionRoutes(services))
      .route('/', lockRoutes(services))
      .route('/', trashRoutes(services))
      .route('/', shareRoutes(services))
      .route('/', eventRoutes(services, logger))
      .route('/', webhookRoutes(services))
      .route('/', credentialRoutes(services))
      .route('/', backupRoutes(services))
      .route('/', lifecycleRoutes(services))
      .route('/', auditRoutes(services)),
    authenticate: (request, headers = request.incoming.headers) => tokens.identify(headers),
    error: (error, request) => jsonError(error, request, supabaseCompat),
    // A busy server is not a dead one.
    isVital: (path) => HEALTH_PATHS.has(path),
    answerAtOnce: (exchange) => hotGet.answer(exchange),
  }
}
