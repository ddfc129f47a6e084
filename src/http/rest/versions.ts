import { Hono } from 'hono'
import { z } from 'zod'
import type { VersionEntry } from '../../database/queries/object-versions.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import { askerOf, requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logObject, logTarget } from '../env.ts'
import { writeCondition } from '../message/conditionals.ts'
import { checkShape, jsonReader } from '../message/json-body.ts'
import { objectTarget, queryOf } from '../message/request-path.ts'
import { declaredLength } from '../message/upload-headers.ts'
import { commentSent } from '../message/version-comment.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import {
  addVersion,
  historySchema,
  listHistory,
  MAX_NAMES,
  newVersionSchema,
  restoreSchema,
  restoreVersion,
  travelSchema,
} from './operations/versions.ts'
import { receiveUpload } from './receive-upload.ts'
import { keyOf, ownFields, uploadResponse } from './responses.ts'

/** What a name had before, beside the objects' own routes, where a version is named by its id (wire §13.2). */
export function versionRoutes(services: Services) {
  const { files, lists, timeTravel } = services
  const readJson = jsonReader(services)

  async function travel(c: AppContext, caller: Caller, body: z.infer<typeof travelSchema>) {
    const { bucket, prefix, at, to, dry_run: dryRun, limit = MAX_NAMES, cursor } = body
    logTarget(c, bucket, prefix)
    const request = { bucket, prefix, at, to, dryRun, limit, cursor }
    const { historySince, ...report } = await timeTravel.restore(
      caller,
      askerOf(c, services, caller),
      request,
    )
    return c.json({ ...report, history_since: historySince })
  }

  return new Hono<Env>()
    .post(
      '/versions/restore',
      operation(restoreVersion, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.restore_version')
        const body = await readJson(c.env.incoming, z.record(z.string(), z.unknown()))
        if ('at' in body || 'prefix' in body) {
          return travel(c, caller, checkShape('body', body, travelSchema, services.supabaseCompat))
        }
        const wanted = checkShape('body', body, restoreSchema, services.supabaseCompat)
        const { bucket, path: name, version_id: id } = wanted
        logTarget(c, bucket, name)
        const from = { bucket, name, version: { id } }
        const { object } = await files.copy(caller, {
          from,
          to: from,
          upsert: true,
          replace: undefined,
          keepsOwner: true,
        })
        logObject(c, object)
        return c.json({ Id: object.id, Key: keyOf(object), version: object.version, ...ownFields(object) })
      }),
    )
    .post(
      '/versions/:bucket/:key{.*}',
      operation(addVersion, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.add_version')
        const { bucket, name } = objectTarget(c.req.path, '/versions/')
        logTarget(c, bucket, name)
        const { headers } = c.env.incoming
        const { snapshot } = checkShape('querystring', Object.fromEntries(queryOf(c.env)), newVersionSchema)
        const condition = writeCondition(headers)
        // Who sends bytes wants them kept.
        if (snapshot === 'true' && declaredLength(c.env.incoming) !== 0) {
          throw new StorageError('InvalidRequest', {
            message: 'A snapshot is of what is there: it has no body',
          })
        }
        const writer = { ...caller, versionComment: commentSent(c.req.header('x-version-comment')) }
        const stored =
          snapshot === 'true'
            ? await files.snapshot(writer, bucket, name, condition)
            : await receiveUpload(c, services, caller, (content) =>
                files.addVersion(writer, { ...content, bucket, name, condition }),
              )
        const { object } = stored
        const body = { Id: object.id, Key: keyOf(object), version_id: object.version }
        return uploadResponse(c, services, stored, body)
      }),
    )
    .get(
      '/versions/:bucket/:key{.*}',
      operation(listHistory, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.list_versions')
        const { bucket, name } = objectTarget(c.req.path, '/versions/')
        logTarget(c, bucket, name)
        const { limit, cursor } = checkShape('querystring', Object.fromEntries(queryOf(c.env)), historySchema)
        const asker = askerOf(c, services, caller)
        const { entries, next } = await lists.history(caller, asker, bucket, { name, limit, cursor })
        if (entries.length === 0 && cursor === undefined) throw new StorageError('NoSuchKey')
        return c.json({ items: entries.map(historyJson), next })
      }),
    )
}

function historyJson(entry: VersionEntry) {
  const { metadata } = entry
  return {
    version_id: entry.version,
    version_number: entry.versioning?.number ?? 1,
    is_latest: entry.versioning?.isLatest ?? false,
    is_versioned: entry.versioning?.isVersioned ?? false,
    is_delete_marker: entry.isDeleteMarker,
    size: metadata?.size ?? null,
    content_type: metadata?.mimetype ?? null,
    checksum: entry.checksum,
    created_at: entry.since,
    created_by: entry.ownerId,
    archived_at: entry.versioning?.archivedAt ?? null,
    comment: entry.comment,
  }
}
