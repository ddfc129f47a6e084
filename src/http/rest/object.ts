import { Hono } from 'hono'
import type { z } from 'zod'
import type { Access, Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { WantedVersion } from '../../model/version-id.ts'
import type { LinkOptions } from '../../storage/links/signed-urls.ts'
import { parseContentType } from '../../storage/object/content-type.ts'
import type { StoredObject } from '../../storage/object/stored-object.ts'
import type { RemovedVersion } from '../../storage/writing/version-removals.ts'
import { anonymousCaller, optionalCaller, requireCaller } from '../auth/caller.ts'
import { hasUrlToken, sendSigned } from '../auth/signed-request.ts'
import { type AppContext, type Env, logEach, logObject, logRoute, logTarget } from '../env.ts'
import { refuseCondition, writeCondition } from '../message/conditionals.ts'
import { checkShape, jsonReader, MAX_BULK_BYTES } from '../message/json-body.ts'
import { wantedLink } from '../message/link-options.ts'
import { sendObject } from '../message/object-response.ts'
import { objectTarget, parameterOf } from '../message/request-path.ts'
import { headerValue, metadataFromHeader } from '../message/upload-headers.ts'
import { wantedVersion } from '../message/wanted-version.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import type { ObjectNote } from '../surface.ts'
import { changeSchema, changesIn, MAX_CHANGE_BYTES } from './change-fields.ts'
import {
  changeObject,
  copyObject,
  copySchema,
  deleteObject,
  deleteObjects,
  deleteSchema,
  downloadAuthenticated,
  downloadObject,
  downloadPublic,
  infoAuthenticated,
  infoOfObject,
  infoPublic,
  moveObject,
  moveSchema,
  ownDeleteQuery,
  updateObject,
  uploadObject,
} from './operations/object.ts'
import { receiveUpload } from './receive-upload.ts'
import {
  attributeFields,
  autoDeleteJson,
  autoDeletion,
  deletedJson,
  infoJson,
  keyOf,
  ownFields,
  storedRowJson,
  successResponse,
  uploadResponse,
  versionJson,
} from './responses.ts'
import { signedJson } from './signed-json.ts'

export function objectRoutes(services: Services) {
  const { files, urls } = services
  const readJson = jsonReader(services)

  async function upload(c: AppContext, operation: string, upsert: boolean) {
    const caller = await requireCaller(c, services, operation)
    const target = objectTarget(c.req.path, '/object/')
    logTarget(c, target.bucket, target.name)
    const condition = writeCondition(c.env.incoming.headers)
    const stored = await receiveUpload(c, services, caller, (content) =>
      files.upload(caller, { ...content, ...target, upsert, condition }),
    )
    return uploadResponse(c, services, stored, { Id: stored.object.id, Key: keyOf(stored.object) })
  }

  function download(c: AppContext, route: string, who: { caller: Caller; access: Access }) {
    const { bucket, name } = objectTarget(c.req.path, route)
    const download = parameterOf(c.env, 'download')
    const version = wantedVersion(c.env, services.supabaseCompat)
    return sendObject(c, services, { ...who, bucket, name, version, download })
  }

  async function info(c: AppContext, route: string, who: { caller: Caller; access: Access }) {
    // Of the object itself, so that a client learns its size, and may cache what it has.
    if (isHead(c)) return download(c, route, who)
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

  return (
    new Hono<Env>()
      // Fixed words win over bucket names (wire §3.2), so they stand first.
      .get(
        '/object/public/:bucket/:key{.*}',
        operation(downloadPublic, (c) =>
          download(c, '/object/public/', {
            caller: anonymousCaller(
              c,
              services,
              isHead(c) ? 'storage.object.info_public' : 'storage.object.get_public',
            ),
            access: 'public',
          }),
        ),
      )
      .get(
        '/object/authenticated/:bucket/:key{.*}',
        operation(downloadAuthenticated, async (c) => {
          const caller = await requireCaller(c, services, downloadOperation(c))
          return download(c, '/object/authenticated/', { caller, access: 'caller' })
        }),
      )
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
      .post(
        '/object/move',
        operation(moveObject, async (c) => {
          const caller = await requireCaller(c, services, 'storage.object.move')
          const body = await readJson(c.env.incoming, moveSchema)
          const { from, to } = route(body)
          logRoute(c, from, to)
          const condition = writeCondition(c.env.incoming.headers)
          const { ifNoneMatch, ...source } = condition ?? {}
          // A move never replaces: what must not be there is under the new name, all else is said of what is moved.
          const moved = await files.move(
            caller,
            { ...from, version: byId(body.sourceVersionId) },
            to,
            condition && { source, target: { ifNoneMatch } },
          )
          logObject(c, moved)
          return c.json({ message: 'Successfully moved' })
        }),
      )
      .post(
        '/object/copy',
        operation(copyObject, async (c) => {
          const caller = await requireCaller(c, services, 'storage.object.copy')
          const body = await readJson(c.env.incoming, copySchema)
          const { from, to } = route(body)
          logRoute(c, from, to)
          const { object } = await files.copy(caller, {
            from: { ...from, version: byId(body.sourceVersionId) },
            to,
            upsert: c.req.header('x-upsert') === 'true',
            condition: writeCondition(c.env.incoming.headers),
            replace:
              body.copyMetadata === false
                ? {
                    contentType: parseContentType(body.metadata?.mimetype ?? undefined),
                    cacheControl: parsed(body.metadata?.cacheControl, headerValue),
                    contentEncoding: parsed(body.metadata?.contentEncoding, headerValue),
                    userMetadata: metadataFromHeader(c.req.header('x-metadata')) ?? null,
                  }
                : undefined,
          })
          logObject(c, object)
          return successResponse(
            c,
            services,
            withVersion(object, { Id: object.id, Key: keyOf(object), ...storedRowJson(object) }),
            { fields: { ...ownFields(object), ...versionJson(object) } },
          )
        }),
      )
      .get(
        '/object/:bucket/:key{.*}',
        operation(downloadObject, async (c) => {
          if (hasUrlToken(c)) return sendSigned(c, services, '/object/')
          return download(c, '/object/', await optionalCaller(c, services, downloadOperation(c)))
        }),
      )
      .post(
        '/object/:bucket/:key{.*}',
        operation(uploadObject, (c) =>
          upload(c, 'storage.object.upload', c.req.header('x-upsert') === 'true'),
        ),
      )
      .put(
        '/object/:bucket/:key{.*}',
        operation(updateObject, (c) => upload(c, 'storage.object.upload_update', true)),
      )
      .patch(
        '/object/:bucket/:key{.*}',
        operation(changeObject, async (c) => {
          const caller = await requireCaller(c, services, 'storage.object.update')
          const { bucket, name } = objectTarget(c.req.path, '/object/')
          logTarget(c, bucket, name)
          const condition = writeCondition(c.env.incoming.headers)
          const body = await readJson(c.env.incoming, changeSchema, { maxBytes: MAX_CHANGE_BYTES })
          const changed = await files.change(caller, bucket, name, changesIn(body), condition)
          logObject(c, changed)
          return c.json({ ...ownFields(changed), ...attributeFields(changed), ...autoDeletion(changed) })
        }),
      )
      .delete(
        '/object/:bucket',
        operation(deleteObjects, async (c) => {
          const caller = await requireCaller(c, services, 'storage.object.delete_many')
          const { bucket } = objectTarget(c.req.path, '/object/')
          logTarget(c, bucket)
          refuseCondition(c.env.incoming.headers)
          const body = await readJson(c.env.incoming, deleteSchema, { maxBytes: MAX_BULK_BYTES })
          const { prefixes } = body
          const permanent = services.supabaseCompat ? undefined : body.permanent
          const names = prefixes.filter((entry) => typeof entry === 'string')
          const versions = prefixes
            .filter((entry) => typeof entry !== 'string')
            .map(({ path, versionId }) => ({ name: path, version: { id: versionId } }))
          const removed = await files.removeMany(caller, bucket, names, versions, permanent)
          const { deleted: rows, versions: outcomes } = removed
          c.env.notes.locked = outcomes.filter((outcome) => hasCode(outcome, 'ObjectLocked')).length

          const ids = new Map(rows.map((row) => [row.name, row.id]))
          logEach(c, [
            ...names.map((path) => ({ path, objectId: ids.get(path), status: ids.has(path) ? 200 : 404 })),
            ...versions.map(({ name, version }, place) => ({
              path: name,
              version: version.id,
              ...endOf(outcomes[place] ?? null),
            })),
          ])
          return c.json(rows.map(deletedJson))
        }),
      )
      .delete(
        '/object/:bucket/:key{.*}',
        operation(deleteObject, async (c) => {
          const caller = await requireCaller(c, services, 'storage.object.delete')
          const { bucket, name } = objectTarget(c.req.path, '/object/')
          logTarget(c, bucket, name)
          const condition = writeCondition(c.env.incoming.headers)
          const versionId = parameterOf(c.env, 'versionId')
          c.env.notes.resourceId = versionId
          const permanent = services.supabaseCompat ? undefined : permanence(c)
          if (versionId !== undefined && permanent === false) {
            const message = 'A version goes for good: permanent=false has nothing to do with it'
            throw new StorageError('InvalidParameter', { message })
          }
          const { id } =
            versionId === undefined
              ? await files.remove(caller, bucket, name, condition, permanent)
              : await files.removeVersion(caller, bucket, name, { id: versionId }, condition)
          c.env.notes.objectId = id
          const message = 'Successfully deleted'
          if (permanent !== undefined) return c.json({ success: true, message, permanent })
          return successResponse(c, services, { message }, { status: 204 })
        }),
      )
  )
}

/** Supabase's servers of before versions tell nothing of them: so it is of a bucket that has never kept any (wire §13.2). */
function withVersion(object: StoredObject, body: Record<string, unknown>): Record<string, unknown> {
  return object.versionId === null ? body : { ...body, ...versionJson(object) }
}

function route(body: z.infer<typeof moveSchema>) {
  return {
    from: { bucket: body.bucketId, name: body.sourceKey },
    to: { bucket: body.destinationBucket ?? body.bucketId, name: body.destinationKey },
  }
}

/** Whether what is deleted goes for good; undefined is as the bucket says. @throws InvalidRequest */
export function permanence(c: AppContext): boolean | undefined {
  const sent = parameterOf(c.env, 'permanent')
  if (sent === undefined) return undefined
  return checkShape('querystring', { permanent: sent }, ownDeleteQuery).permanent === 'true'
}

/** What has become of a version, as the audit log tells it. */
function endOf(outcome: RemovedVersion): Pick<ObjectNote, 'objectId' | 'status'> {
  if (outcome instanceof StorageError) return { status: outcome.status }
  return outcome ? { objectId: outcome.id, status: 200 } : { status: 404 }
}

function byId(id: string | undefined): WantedVersion | undefined {
  return id === undefined ? undefined : { id }
}

function parsed<T>(text: string | null | undefined, parse: (text: string) => T): T | undefined {
  return text == null ? undefined : parse(text)
}

function isHead(c: AppContext): boolean {
  return c.req.method === 'HEAD'
}

function downloadOperation(c: AppContext): string {
  return isHead(c) ? 'object.head_authenticated_info' : 'storage.object.get_authenticated'
}
