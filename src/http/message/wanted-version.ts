import { z } from 'zod'
import type { WantedVersion } from '../../model/version-id.ts'
import type { RequestContext } from '../surface.ts'
import { checkShape } from './json-body.ts'
import { moment } from './moment.ts'
import { queryOf } from './request-path.ts'

/** How a query names a version, the first of these that it has; without any it is what is there now. */
export const versionQuery = z.object({
  versionId: z.string().optional().describe('Of one version, also of a former one.'),
  version: z
    .string()
    .regex(/^[1-9]\d{0,8}$/, 'must be the number of a version')
    .optional()
    .describe('The same by its number; nothing under STORAGE_COMPAT=supabase.'),
  at: moment
    .optional()
    .describe('What was there at this time, be it deleted; nothing under STORAGE_COMPAT=supabase.'),
})

/**
 * @param supabaseCompat whether a number or a time means nothing, as to Supabase
 * @throws InvalidRequest
 */
export function wantedVersion(request: RequestContext, supabaseCompat: boolean): WantedVersion | undefined {
  // A parameter's name may be escaped, too.
  if (!/(?:^|&)(?:version|at=|[^=&]*%)/.test(request.target.query)) return undefined
  const sent = queryOf(request)
  const id = sent.get('versionId')
  if (id !== null) return { id }
  if (supabaseCompat) return undefined
  const { version, at } = checkShape(
    'querystring',
    { version: sent.get('version') ?? undefined, at: sent.get('at') ?? undefined },
    versionQuery,
  )
  if (version !== undefined) return { number: Number(version) }
  return at && { at }
}
