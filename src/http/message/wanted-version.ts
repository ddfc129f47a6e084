import { z } from 'zod'
import type { WantedVersion } from '../../model/version-id.ts'
import type { RequestContext } from '../surface.ts'
import { checkShape } from './json-body.ts'
import { queryOf } from './request-path.ts'

/** How a query names a version; without either it is what is there now. */
export const versionQuery = z.object({
  versionId: z.string().optional().describe('Of one version, also of a former one.'),
  version: z
    .string()
    .regex(/^[1-9]\d{0,8}$/, 'must be the number of a version')
    .optional()
    .describe('The same by its number.'),
})

/** @throws InvalidRequest */
export function wantedVersion(request: RequestContext, compat: boolean): WantedVersion | undefined {
  if (!/(?:^|&)version/.test(request.target.query)) return undefined
  const sent = queryOf(request)
  const { versionId, version } = checkShape(
    'querystring',
    { versionId: sent.get('versionId') ?? undefined, version: sent.get('version') ?? undefined },
    versionQuery,
    compat,
  )
  if (versionId !== undefined) return { id: versionId }
  return version === undefined ? undefined : { number: Number(version) }
}
