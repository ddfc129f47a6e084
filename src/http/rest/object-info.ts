import { Hono } from 'hono'
import type { Access, Caller } from '../../model/caller.ts'
import { hasCode } from '../../model/errors.ts'
import type { WantedVersion } from '../../model/version-id.ts'
import type { LinkOptions } from '../../storage/links/signed-urls.ts'
import type { StoredObject } from '../../storage/object/stored-object.ts'
import { anonymousCaller, optionalCaller, requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logTarget } from '../env.ts'
import { wantedLink } from '../message/link-options.ts'
import { objectTarget } from '../message/request-path.ts'
import { wantedVersion } from '../message/wanted-version.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { download, isHead } from './object.ts'
import { infoAuthenticated, infoOfObject, infoPublic } from './operations/object.ts'
import {
  attributeFields,
  autoDeleteJson,
  infoJson,
  successResponse,
  versionJson,
  withVersion,
} from './responses.ts'
import { signedJson } from './signed-json.ts'

/** What is known of objects, by their names. */
export function objectInfoRoutes(services: Services) {
  const { files, urls } = services

  async function info(c: AppContext, route: string, who: { caller: Caller; access: Access }) {
    // Of the object itself, so that a client learns its size, and may cache what it has.
    if (isHead(c)) return download(c, services, route, who)
    const { bucket, name } = objectTarget(c.req.path, route)
    logTarget(c, bucket, name)
    const version = wantedVersion(c.env, services.supabaseCompat)
    const link = wantedLink(c.env)
    const { object } = await files.find(who.caller, { access: who.access, bucket, name, version })
    const body = {
      ...infoJson(object),
      ...(link && (await downloadUrl(c, who.caller, { object, version }, link))),
    }
    return successResponse(c, services, withVersion(object, body), {
      fields: {
        checksum: object.checksum,
        ...attributeFields(object),
        ...versionJson(object),
        ...autoDeleteJson(object.autoDelete),
      },
    })
  }

  /** A signed URL for it, as whoever asks could sign it; nulls when the policies do not show it to him. */
  async function downloadUrl(
    c: AppContext,
    caller: Caller,
    { object, version }: { object: StoredObject; version: WantedVersion | undefined },
    link: LinkOptions,
  ) {
    const { bucket, name } = object
    const versionId = version && (('id' in version ? version.id : object.versionId) ?? undefined)
    const signed = await urls
      .signDownload(caller, { bucket, name, versionId }, link)
      .catch((error: unknown) => {
        if (hasCode(error, 'NoSuchKey') || hasCode(error, 'NoSuchVersion')) return null
        throw error
      })
    return {
      download_url: signed && signedJson(c, services, signed).url,
      download_url_expires_at: signed?.expiresAt ?? null,
    }
  }

  return new Hono<Env>()
    .get(
      '/object/info/public/:bucket/:key{.*}',
      operation(infoPublic, (c) => {
        const caller = anonymousCaller(c, services, 'storage.object.info_public')
        return info(c, '/object/info/public/', { caller, access: 'public' })
      }),
    )
    .get(
      '/object/info/authenticated/:bucket/:key{.*}',
      operation(infoAuthenticated, async (c) => {
        const caller = await requireCaller(c, services, 'object.get_authenticated_info')
        return info(c, '/object/info/authenticated/', { caller, access: 'caller' })
      }),
    )
    .get(
      '/object/info/:bucket/:key{.*}',
      operation(infoOfObject, async (c) =>
        info(c, '/object/info/', await optionalCaller(c, services, 'object.get_authenticated_info')),
      ),
    )
}
