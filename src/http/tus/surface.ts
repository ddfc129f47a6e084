import type { Logger } from 'pino'
import { jsonError } from '../message/json-error.ts'
import type { Services } from '../services.ts'
import type { Surface } from '../surface.ts'
import { TUS_PATH, tusAnswer, tusHeaders } from './protocol.ts'
import { resumableRoutes } from './routes.ts'

/** Resumable uploads (wire §5). */
export function tusSurface(services: Services, logger: Logger): Surface {
  const { tokens, maxFileSize, supabaseCompat } = services
  return {
    name: 'tus',
    prefix: TUS_PATH,
    routes: resumableRoutes(services, logger),
    authenticate: (request, headers = request.incoming.headers) => tokens.identify(headers),
    // Before an upload is looked at, all is said in JSON as everywhere (wire §5.8), but for what is to come back later.
    error: (error, request) =>
      error.code === 'ServerBusy' || error.code === 'SlowDown'
        ? tusAnswer(error, request, request?.incoming.method === 'HEAD')
        : jsonError(error, request, supabaseCompat),
    headers: ({ incoming }) => tusHeaders(incoming.method, maxFileSize),
  }
}
