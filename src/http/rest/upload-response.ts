import type { Stored } from '../../storage/writing/commit.ts'
import type { AppContext, Services } from '../env.ts'
import { ownFields } from './responses.ts'
import { successResponse } from './success-response.ts'

/** Answers an upload: Supabase's own body, and the object itself (design §8). */
export function uploadResponse(
  c: AppContext,
  services: Services,
  { object, created }: Stored,
  body: Record<string, unknown>,
): Response {
  c.get('log').size = object.size ?? 0
  // PUT is an update, which RFC 9110 §9.3.4 answers with 201 only when there was nothing before.
  const status = created || c.req.method === 'POST' ? 201 : 200
  return successResponse(c, services, body, { status, fields: ownFields(object) })
}
