import { z } from 'zod'
import { parseNetwork } from '../../lib/ip-network.ts'
import { StorageError } from '../../model/errors.ts'
import type { LinkOptions } from '../../storage/links/signed-urls.ts'
import type { RequestContext } from '../surface.ts'
import { contentDisposition } from './content-disposition.ts'
import { checkShape } from './json-body.ts'
import { flag, integer, optional, textList } from './json-fields.ts'
import { queryOf } from './request-path.ts'

/** That a URL may be used from. A token names each of them. */
const MOST_NETWORKS = 20

const network = z.string('must be an address or a network').transform((text, context) => {
  const parsed = parseNetwork(text)
  if (parsed !== null) return parsed
  context.addIssue({ code: 'custom', message: 'must be an address or a network, such as 192.0.2.0/24' })
  return z.NEVER
})

/** By what a signed URL to download may be more than one that works until its time (docs/links.md). */
export const linkFields = {
  stable: optional(flag()).describe(
    'The same text for everybody for half of the time, so that caches have it once.',
  ),
  once: optional(flag()).describe('Works a single time: the same as `max_downloads` 1.'),
  max_downloads: optional(
    integer(z.int('must be a whole number').min(1, 'must be at least 1').max(1_000_000, 'is too large')),
  ).describe('Works so often.'),
  allowed_ip: optional(
    textList(z.array(network).min(1, 'must name a network').max(MOST_NETWORKS, 'names too many networks')),
  ).describe('From where alone it works: an address or a network, or up to 20 of them.'),
  disposition: optional(z.enum(['inline', 'attachment'], 'must be inline or attachment')).describe(
    'How a browser shows it, whatever the link says.',
  ),
  file_name: optional(z.string('must be a string').min(1).max(255, 'is too long')).describe(
    'Under which it is saved; with `disposition`.',
  ),
}

export type LinkFields = { [field in keyof typeof linkFields]?: z.infer<(typeof linkFields)[field]> }

/** How a URL is asked for beside what is told of an object. */
export const linkQuery = z.object({
  download_url: z
    .string()
    .regex(/^[1-9]\d{0,11}$/, 'must be a whole number of seconds')
    .optional()
    .describe('Tells a signed URL, too, which works for so many seconds.'),
  stable: z
    .enum(['true', 'false'])
    .optional()
    .describe('Whether that is the same for everybody for a while.'),
})

/** Undefined when none is asked for. @throws InvalidRequest */
export function wantedLink(request: RequestContext): LinkOptions | undefined {
  const sent = queryOf(request)
  const download_url = sent.get('download_url') ?? undefined
  if (download_url === undefined) return undefined
  const stable = sent.get('stable') ?? undefined
  const asked = checkShape('querystring', { download_url, stable }, linkQuery)
  return { expiresInSeconds: Number(asked.download_url), isStable: asked.stable === 'true' }
}

/** What is asked of a signed URL, as the storage knows it. @throws InvalidParameter for what contradicts itself */
export function linkOptions(expiresInSeconds: number, sent: LinkFields): LinkOptions {
  const { stable: isStable, once, disposition, file_name: fileName } = sent
  if (once && (sent.max_downloads ?? 1) !== 1) {
    throw new StorageError('InvalidParameter', { message: 'once is max_downloads 1' })
  }
  if (fileName !== undefined && disposition === undefined) {
    throw new StorageError('InvalidParameter', { message: 'file_name goes with disposition' })
  }
  const most = once ? 1 : sent.max_downloads
  const limits = {
    ...(most !== undefined && { max_downloads: most }),
    ...(sent.allowed_ip && { allowed_ip: sent.allowed_ip }),
    ...(disposition && { disposition: contentDisposition(fileName ?? '', disposition) }),
  }
  return { expiresInSeconds, isStable, limits: Object.keys(limits).length > 0 ? limits : undefined }
}
