import { Hono } from 'hono'
import type { Access, Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { RemovedVersion } from '../../storage/writing/version-removals.ts'
import { anonymousCaller, optionalCaller, requireCaller } from '../auth/caller.ts'
import { hasUrlToken, sendSigned } from '../auth/signed-request.ts'
import { type AppContext, type Env, logEach, logObject, logTarget } from '../env.ts'
import { refuseCondition, writeCondition } from '../message/conditionals.ts'
import { checkShape, jsonReader, MAX_BULK_BYTES } from '../message/json-body.ts'
import { sendObject } from '../message/object-response.ts'
import { objectTarget, parameterOf } from '../message/request-path.ts'
import { wantedVersion } from '../message/wanted-version.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import type { ObjectNote } from '../surface.ts'
import { changeSchema, changesIn, MAX_CHANGE_BYTES } from './change-fields.ts'
import {
  changeObject,
  deleteObject,
  deleteObjects,
  deleteSchema,
  downloadAuthenticated,
  downloadObject,
  downloadPublic,
  ownDeleteQuery,
  updateObject,
  uploadObject,
} from './operations/object.ts'
import { receiveUpload } from './receive-upload.ts'
import {
  attributeFields,
  autoDeletion,
  deletedJson,
  keyOf,
  ownFields,
  successResponse,
  uploadResponse,
} from './responses.ts'

/** Objects by their names: up, down, changed and deleted. */
export function objectRoutes(services: Services) {
  const { files } = services
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

  return (
    new Hono<Env>()
      // Fixed words win over bucket names (wire §3.2), so they stand first.
      .get(
        '/object/public/:bucket/:key{.*}',
        operation(downloadPublic, (c) =>
          download(c, services, '/object/public/', {
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
          return download(c, services, '/object/authenticated/', { caller, access: 'caller' })
        }),
      )
      .get(
        '/object/:bucket/:key{.*}',
        operation(downloadObject, async (c) => {
          if (hasUrlToken(c)) return sendSigned(c, services, '/object/')
          return download(c, services, '/object/', await optionalCaller(c, services, downloadOperation(c)))
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

/** Sends what a request names behind the beginning of its path. */
export function download(
  c: AppContext,
  services: Services,
  route: string,
  who: { caller: Caller; access: Access },
): Promise<Response> {
  const { bucket, name } = objectTarget(c.req.path, route)
  const download = parameterOf(c.env, 'download')
  const version = wantedVersion(c.env, services.supabaseCompat)
  return sendObject(c, services, { ...who, bucket, name, version, download })
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

export function isHead(c: AppContext): boolean {
  return c.req.method === 'HEAD'
}

function downloadOperation(c: AppContext): string {
  return isHead(c) ? 'object.head_authenticated_info' : 'storage.object.get_authenticated'
}
