import type { TokenVerifier } from '../auth/token-verifier.ts'
import { jsonError } from '../message/json-error.ts'
import { queryOf } from '../message/request-path.ts'
import type { Surface } from '../surface.ts'
import type { Realtime } from './realtime.ts'
import { realtimeRoutes } from './routes.ts'

/** Supabase's Realtime (wire §10). */
export function realtimeSurface(
  realtime: Realtime,
  { tokens, supabaseCompat }: { tokens: TokenVerifier; supabaseCompat: boolean },
): Surface {
  return {
    name: 'realtime',
    prefix: '/realtime/v1',
    routes: realtimeRoutes(),
    // Browsers can give a WebSocket no headers.
    authenticate: (request, headers = request.incoming.headers) => {
      const apikey = queryOf(request).get('apikey')
      return tokens.identify(apikey === null ? headers : { apikey })
    },
    error: (error, request) => jsonError(error, request, supabaseCompat),
    webSockets: realtime,
  }
}
