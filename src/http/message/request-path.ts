import { StorageError } from '../../model/errors.ts'
import type { RequestContext } from '../surface.ts'

/** The query as the client wrote it; Node's URL parser is not asked, since it would see other bytes. */
export function queryOf({ target }: RequestContext): URLSearchParams {
  return new URLSearchParams(target.query)
}

/** One parameter of the query. Of most requests there is none to look for it in. */
export function parameterOf(request: RequestContext, name: string): string | undefined {
  if (request.target.query === '') return undefined
  return queryOf(request).get(name) ?? undefined
}

/**
 * The bucket and the name in a path, decoded once. The name is everything after the bucket's segment and may be
 * empty; whether it is legal is for the storage to say.
 *
 * @param route what stands before the bucket, such as `/object/public/`
 * @throws InvalidRequest when the percent-encoding is broken or is no UTF-8
 */
export function objectTarget(path: string, route: string): { bucket: string; name: string } {
  const rest = path.slice(route.length)
  const slash = rest.indexOf('/')
  if (slash < 0) return { bucket: decodeSegment(rest), name: '' }
  return { bucket: decodeSegment(rest.slice(0, slash)), name: decodeSegment(rest.slice(slash + 1)) }
}

/** @throws InvalidRequest */
export function decodeSegment(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new StorageError('InvalidRequest', {
      message: 'The percent-encoding of the path is malformed',
      cause,
    })
  }
}
