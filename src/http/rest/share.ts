import { Hono } from 'hono'
import type { ShareRow } from '../../database/queries/shares.ts'
import type { Caller } from '../../model/caller.ts'
import { parseIdempotencyKey } from '../../storage/idempotent-requests.ts'
import type { SharedObject } from '../../storage/shares/shared-objects.ts'
import type { ShareRequest } from '../../storage/shares/shares.ts'
import { askerOf, optionalCaller, requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logObject, logTarget } from '../env.ts'
import { checkShape, jsonReader } from '../message/json-body.ts'
import { absoluteUrl } from '../message/public-url.ts'
import { decodeSegment, parameterOf, queryOf } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import {
  accessSchema,
  accessShare,
  changeSchema,
  changeShare,
  createSchema,
  createShare,
  deleteShared,
  downloadShare,
  getShare,
  listSchema,
  listShares,
  revokeAllSchema,
  revokeShare,
  revokeShares,
} from './operations/share.ts'
import { shareFacts } from './share-json.ts'
import { signedJson } from './signed-json.ts'

/** Objects for whoever has a link (docs/shares.md). New routes: they answer alike in both modes. */
export function shareRoutes(services: Services) {
  const { shares, sharedObjects } = services
  const readJson = jsonReader(services)

  /** Whoever has the link: signed in or not. */
  const visitor = async (c: AppContext, operation: string): Promise<Caller> => {
    c.env.notes.via = 'share'
    c.header('Cache-Control', 'no-store')
    return (await optionalCaller(c, services, operation)).caller
  }

  return new Hono<Env>()
    .post(
      '/share',
      operation(createShare, async (c) => {
        const caller = await requireCaller(c, services, 'storage.share.create')
        const body = await readJson(c.env.incoming, createSchema)
        const { file_id: fileId, bucket = '', path = '' } = body
        if (fileId === undefined) logTarget(c, bucket, path)
        const request: ShareRequest = {
          target: fileId === undefined ? { bucket, path } : { id: fileId },
          sharedWith: body.shared_with ?? null,
          sharedWithEmail: body.shared_with_email ?? null,
          permissions: { view: true, download: false, delete: false, ...given(body.permissions) },
          password: body.password ?? null,
          hours: body.expires_hours ?? 24,
          maxDownloads: body.max_downloads ?? null,
        }
        const { share, token, isReplay } = await shares.create(caller, request, {
          key: parseIdempotencyKey(c.req.header('idempotency-key')),
          who: `${caller.role} ${askerOf(c, services, caller)}`,
          isService: caller.role === 'service_role',
        })
        logShare(c, share)
        if (isReplay) c.header('Idempotent-Replayed', 'true')
        c.header('Cache-Control', 'no-store')
        const message = 'Successfully shared'
        return c.json({ ...shareJson(c, services, share), access_token: token, message }, 201)
      }),
    )
    .get(
      '/share',
      operation(listShares, async (c) => {
        const caller = await requireCaller(c, services, 'storage.share.list')
        const query = checkShape('querystring', Object.fromEntries(queryOf(c.env)), listSchema)
        const { active, cursor, limit } = query
        const request = { objectId: query.file_id, active, isWithMe: query.with === 'me', cursor, limit }
        const page = await shares.list(caller, request)
        return c.json({ items: page.shares.map((share) => shareJson(c, services, share)), next: page.next })
      }),
    )
    .delete(
      '/share',
      operation(revokeShares, async (c) => {
        const caller = await requireCaller(c, services, 'storage.share.revoke_all')
        const query = checkShape('querystring', Object.fromEntries(queryOf(c.env)), revokeAllSchema)
        const count = await shares.revokeAllOf(caller, query.shared_by)
        return c.json({ message: 'Successfully revoked', count })
      }),
    )
    .get(
      '/share/:id',
      operation(getShare, async (c) => {
        if (parameterOf(c.env, 'manage') === 'true') {
          const caller = await requireCaller(c, services, 'storage.share.get')
          const share = await shares.get(caller, idOf(c))
          logShare(c, share)
          return c.json(shareJson(c, services, share))
        }
        const caller = await visitor(c, 'storage.share.info')
        const isInfo = c.env.incoming.method === 'HEAD' || wantsInfo(c)
        const found = await sharedObjects.access(caller, accessOf(c), { isInfo })
        return c.json(sharedJson(c, services, found))
      }),
    )
    .patch(
      '/share/:id',
      operation(changeShare, async (c) => {
        const caller = await requireCaller(c, services, 'storage.share.update')
        const body = await readJson(c.env.incoming, changeSchema)
        const { share, token } = await shares.change(caller, idOf(c), {
          hours: body.expires_hours,
          maxDownloads: body.max_downloads,
          permissions: body.permissions && given(body.permissions),
          password: body.password,
        })
        logShare(c, share)
        c.header('Cache-Control', 'no-store')
        const message = 'Successfully changed'
        return c.json({ ...shareJson(c, services, share), access_token: token, message })
      }),
    )
    .delete(
      '/share/:id',
      operation(revokeShare, async (c) => {
        const caller = await requireCaller(c, services, 'storage.share.revoke')
        logShare(c, await shares.revoke(caller, idOf(c)))
        return c.body(null, 204)
      }),
    )
    .post(
      '/share/:id/access',
      operation(accessShare, async (c) => {
        const caller = await visitor(c, 'storage.share.access')
        const { password, token } = await readJson(c.env.incoming, accessSchema)
        const sent = accessOf(c)
        const access = { ...sent, password: password ?? sent.password, token: token ?? sent.token }
        const found = await sharedObjects.access(caller, access, { isInfo: wantsInfo(c) })
        return c.json(sharedJson(c, services, found))
      }),
    )
    .get(
      '/share/:id/download',
      operation(downloadShare, async (c) => {
        const caller = await visitor(c, 'storage.share.download')
        const found = await sharedObjects.download(caller, accessOf(c), {
          isInfo: c.env.incoming.method === 'HEAD',
        })
        logShared(c, found)
        const { url } = found
        if (url === null) return c.body(null, 204)
        return c.redirect(signedJson(c, services, url).url, 302)
      }),
    )
    .delete(
      '/share/:id/file',
      operation(deleteShared, async (c) => {
        const caller = await visitor(c, 'storage.share.delete_file')
        logShared(c, await sharedObjects.deleteFile(caller, accessOf(c)))
        return c.body(null, 204)
      }),
    )
}

function idOf(c: AppContext): string {
  const id = decodeSegment(c.req.path.split('/')[2] ?? '')
  c.env.notes.resourceId = id
  return id
}

/** What was sent with the address, or in headers. Nothing is as good as empty. */
function accessOf(c: AppContext) {
  const { headers } = c.env.incoming
  const sent = (header: string, parameter: string) =>
    headers[header]?.toString() || parameterOf(c.env, parameter) || undefined
  return {
    id: idOf(c),
    token: sent('x-share-token', 'token'),
    password: sent('x-share-password', 'password'),
  }
}

function wantsInfo(c: AppContext): boolean {
  return parameterOf(c.env, 'info') === 'true'
}

function logShare(c: AppContext, { share_id, bucket, name, object_id }: ShareRow): void {
  const { notes } = c.env
  notes.resourceId = share_id
  notes.objectId = object_id
  if (bucket !== null && name !== null) logTarget(c, bucket, name)
}

function logShared(c: AppContext, { object }: Pick<SharedObject, 'object'>): void {
  logTarget(c, object.bucket, object.name)
  logObject(c, object)
}

/** The fields that are there. */
function given<T extends object>(sent: T | undefined): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(sent ?? {}).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> } // the same, without holes
}

/** For its sharer. */
function shareJson(c: AppContext, services: Services, share: ShareRow) {
  return { ...shareFacts(share), share_url: absoluteUrl(c, services, `/share/${share.share_id}`) }
}

/** For whoever has the link: nothing of whose it is, or where. */
function sharedJson(c: AppContext, services: Services, found: SharedObject) {
  logShared(c, found)
  const { share, object, url } = found
  const { max_downloads: most, download_count: count } = share
  return {
    share_id: share.share_id,
    file_id: object.id,
    file_name: object.name.slice(object.name.lastIndexOf('/') + 1),
    size: object.size,
    content_type: object.contentType,
    user_id: null,
    created_at: object.createdAt,
    updated_at: object.updatedAt,
    permissions: share.permissions,
    expires_at: new Date(share.expires_at),
    remaining_downloads: most === null ? null : Math.max(0, most - count),
    download_url: url && signedJson(c, services, url).url,
    download_url_expires_at: url?.expiresAt ?? null,
  }
}
