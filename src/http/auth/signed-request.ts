import type { Caller } from '../../model/caller.ts'
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
import { folderTokens } from './folder-cookie.ts'
import type { RateLimits } from './rate-limits.ts'
import { isListWanted, type ListServices, sendList } from './signed-list.ts'

/** What a request with a signed URL is for, and what its token grants. */
export interface SignedTarget<Granted> {
  bucket: string
  name: string
  granted: Granted
  /** As it came. */
  query: string
}

/** What serves those who have a token. */
export interface SignedServices extends ListServices {
  urls: SignedUrls
  counts: DownloadCounts
  files: FileStorage
  userBuckets: boolean
  rates: RateLimits | undefined
}

/** Whether a request brings a token of a signed URL, so that nothing else decides about it. */
export function hasUrlToken(c: AppContext): boolean {
  return /(?:^|[?&])token=/.test(c.env.target.query)
}

/**
 * Sends the object to whoever has the token for it (design §7), be it in the query or, of a folder, in a cookie.
 *
 * @param route what stands before the bucket, such as `/object/sign/`
 */
export async function sendSigned(c: AppContext, services: SignedServices, route: string): Promise<Response> {
  const cookies = hasUrlToken(c) ? [] : folderTokens(c)
  if (cookies.length > 0) return sendOfFolder(c, services, route, cookies)
  const caller = anonymousCaller(c, services, OPERATION)
  const target = await signedTarget(c, route, (token, wanted) =>
    services.urls.checkDownload(token, wanted, remoteAddress(c.env.incoming, services.trustProxy)),
  )
  return send(c, services, caller, target)
}

/** Sends what is below a folder to whoever has one of these tokens for it. @throws as the last of them is refused */
export async function sendOfFolder(
  c: AppContext,
  services: SignedServices,
  route: string,
  tokens: string[],
): Promise<Response> {
  const caller = anonymousCaller(c, services, OPERATION)
  const { path, query } = c.env.target
  const { bucket, name } = objectTarget(path, route)
  c.env.notes.via = 'signed'
  logTarget(c, bucket, name)
  const from = remoteAddress(c.env.incoming, services.trustProxy)
  let refusal: unknown
  for (const token of tokens) {
    try {
      const granted = await services.urls.checkDownload(token, { bucket, name, scope: 'folder' }, from)
      return await send(c, services, caller, { bucket, name, granted, query })
    } catch (error) {
      if (!IS_NO_TOKEN.some((code) => hasCode(error, code))) throw error
      refusal = error
    }
  }
  throw refusal
}

const OPERATION = 'storage.object.get_signed'

/** Of several cookies another may be the one. */
const IS_NO_TOKEN = ['InvalidJWT', 'ExpiredToken', 'InvalidSignature', 'LinkRevoked'] as const

async function send(
  c: AppContext,
  services: SignedServices,
  bearer: Caller,
  { bucket, name, granted, query }: SignedTarget<UrlClaims>,
): Promise<Response> {
  const { scope, exp, bucket_uid: bucketUid, versionId, disposition } = granted
  const about = { bucket, name, bucketUid, download: downloadName(query), disposition }
  if (scope === 'folder') {
    const caller = services.folders.readerOf(bearer, granted)
    c.env.notes.user = caller.subject
    // What is in the folder may lead elsewhere, and the token may stand in the path.
    c.env.outgoing.setHeader('Referrer-Policy', 'no-referrer')
    if (isListWanted(query)) return sendList(c, services, { caller, bearer, bucket, name, granted, query })
    return sendObject(c, services, {
      ...about,
      caller,
      access: 'caller',
      cacheControl: 'private, no-cache', // the policies are asked each time
      // From a store anybody could have it.
      admit: granted.allowed_ip && (() => Promise.resolve()),
    })
  }
  const isLimited = scope === 'limited'
  return sendObject(c, services, {
    ...about,
    caller: bearer,
    access: 'signed',
    version: versionId === undefined ? undefined : { id: versionId },
    expiresAt: new Date(exp * 1000),
    ...(isLimited && { admit: countedOnce(c, services, granted), cacheControl: 'private, no-store' }),
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
