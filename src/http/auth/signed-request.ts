import { hasCode, StorageError } from '../../model/errors.ts'
import type { FileStorage } from '../../storage/file-storage.ts'
import type { DownloadCounts } from '../../storage/links/download-counts.ts'
import type { SignedUrls } from '../../storage/links/signed-urls.ts'
import type { UrlClaims, UrlWanted } from '../../storage/links/url-token.ts'
import { clientAddress, remoteAddress } from '../connection/client-address.ts'
import { type AppContext, logTarget } from '../env.ts'
import { sendObject } from '../message/object-response.ts'
import { decodeSegment, objectTarget } from '../message/request-path.ts'
import { anonymousCaller } from './caller.ts'
import type { RateLimits } from './rate-limits.ts'

/** What a request with a signed URL is for, and what its token grants. */
export interface SignedTarget<Granted> {
  bucket: string
  name: string
  granted: Granted
  /** As it came. */
  query: string
}

/** What serves those who have a token. */
interface SignedServices {
  urls: SignedUrls
  counts: DownloadCounts
  files: FileStorage
  userBuckets: boolean
  rates: RateLimits | undefined
  trustProxy: boolean
}

/** Whether a request brings a token of a signed URL, so that nothing else decides about it. */
export function hasUrlToken(c: AppContext): boolean {
  return /(?:^|[?&])token=/.test(c.env.target.query)
}

/**
 * Sends the object to whoever has the token for it (design §7).
 *
 * @param route what stands before the bucket, such as `/object/sign/`
 */
export async function sendSigned(c: AppContext, services: SignedServices, route: string): Promise<Response> {
  const caller = anonymousCaller(c, services, 'storage.object.get_signed')
  const from = remoteAddress(c.env.incoming, services.trustProxy)
  const { bucket, name, granted, query } = await signedTarget(c, route, (token, wanted) =>
    services.urls.checkDownload(token, wanted, from),
  )
  const { scope, exp, bucket_uid: bucketUid, versionId, disposition } = granted
  return sendObject(c, services, {
    caller,
    access: 'signed',
    bucket,
    name,
    bucketUid,
    version: versionId === undefined ? undefined : { id: versionId },
    download: downloadName(query),
    disposition,
    expiresAt: new Date(exp * 1000),
    admit: scope === 'limited' ? countedOnce(c, services, granted) : undefined,
  })
}

/** Counts the download when its bytes are about to be sent, and says so if they do not come to their end. */
function countedOnce(c: AppContext, { counts, trustProxy }: SignedServices, claims: UrlClaims) {
  let counting: Promise<void> | undefined
  return (isRange: boolean): Promise<void> => {
    // Asked again when the object was replaced at that very moment.
    counting ??= counts
      .count(claims, { client: clientAddress(c.env.incoming, trustProxy), isRange })
      .then((onBreak) => {
        const { outgoing } = c.env
        if (!onBreak) return
        if (outgoing.destroyed) onBreak()
        else
          outgoing.once('close', () => {
            if (!outgoing.writableFinished || outgoing.statusCode >= 500) onBreak()
          })
      })
    return counting
  }
}

/**
 * What a signed request is for. A client may leave a question mark in the name as it is (storage-js does, wire
 * §3.1); so the query begins at the last `?token=`. And it may encode a link as a whole, although a part of it is encoded
 * already: the path is also read as what it is when decoded once more, since the token says what is meant.
 *
 * @param check whether the token is for this object; throws InvalidSignature when it is for another
 * @throws InvalidRequest without a token; as `check`
 */
export async function signedTarget<Granted>(
  c: AppContext,
  route: string,
  check: (token: string, wanted: Omit<UrlWanted, 'scope'>) => Promise<Granted>,
): Promise<SignedTarget<Granted>> {
  const { path, query } = c.env.target
  c.env.notes.via = 'signed'
  const whole = `${path}?${query}`
  const mark = whole.lastIndexOf('?token=')
  const hasMark = mark > path.length
  const parameters = hasMark ? whole.slice(mark + 1) : query
  const search = new URLSearchParams(parameters)
  const token = search.get('token')
  const expires = search.get('expires') ?? undefined
  if (token === null || token === '') {
    throw new StorageError('InvalidRequest', { message: "querystring must have required property 'token'" })
  }
  const { bucket, name: start } = objectTarget(path, route)
  const sent = start + (hasMark ? decodeSegment(whole.slice(path.length, mark)) : '')
  const granted = async (name: string) => {
    logTarget(c, bucket, name)
    return { bucket, name, granted: await check(token, { bucket, name, expires }), query: parameters }
  }
  try {
    return await granted(sent)
  } catch (error) {
    const meant = decoded(sent)
    if (meant === undefined || meant === sent || !hasCode(error, 'InvalidSignature')) throw error
    return granted(meant)
  }
}

/**
 * The query parameter `download`. storage-js encodes it, and then the link as a whole, so that each percent sign of the
 * name is sent as `%25` and two digits: that is undone.
 */
function downloadName(query: string): string | undefined {
  const name = new URLSearchParams(query).get('download') ?? undefined
  const [, sent = ''] = /(?:^|&)download=([^&]*)/.exec(query) ?? []
  const isDoubled = sent.includes('%') && !/%(?!25[0-9A-F]{2})/i.test(sent)
  return name !== undefined && isDoubled ? (decoded(name) ?? name) : name
}

/** Undefined for what is not percent-encoded UTF-8. */
function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
