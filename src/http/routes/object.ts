import { Hono } from 'hono'
import { z } from 'zod'
import type { Caller } from '../../database/as-caller.ts'
import { type Access, asUuid, type DeletedRow } from '../../database/objects.ts'
import { parseContentType } from '../../storage/content-type.ts'
import type { Stored } from '../../storage/publication.ts'
import type { StoredObject } from '../../storage/stored-object.ts'
import { anonymousCaller, optionalCaller, requireCaller } from '../caller.ts'
import type { AppContext, Env, Services } from '../env.ts'
import { readJson } from '../json-body.ts'
import { sendObject } from '../object-response.ts'
import { objectTarget, requestTarget } from '../request-path.ts'
import { hasUrlToken, sendSigned } from '../signed-request.ts'
import { successResponse } from '../success-response.ts'
import { headerValue, metadataFromHeader, readUploadBody } from '../upload-body.ts'

const key = z.string('must be a string')

const moveSchema = z.object({
  bucketId: key,
  sourceKey: key,
  destinationKey: key,
  destinationBucket: key.nullish(),
})

const copySchema = moveSchema.extend({
  copyMetadata: z.boolean().nullish(),
  metadata: z
    .object({
      cacheControl: z.string().nullish(),
      mimetype: z.string().nullish(),
      contentEncoding: z.string().nullish(),
    })
    .nullish(),
})

/** The entries are exact names, whatever the field is called (contract §3.8). */
const deleteSchema = z.object({ prefixes: z.array(z.string()).min(1, 'must name at least one object') })

export function objectRoutes(services: Services) {
  const { files } = services

  async function upload(c: AppContext, operation: string, upsert: boolean) {
    const caller = await requireCaller(c, services, operation)
    const target = logged(c, objectTarget(c.req.path, '/object/'))
    const content = await readUploadBody(c.env.incoming)
    const stored = await files.upload(caller, { ...content, ...target, upsert })
    return uploadResponse(c, services, stored, { Id: stored.object.id, Key: keyOf(stored.object) })
  }

  function download(c: AppContext, route: string, who: { caller: Caller; access: Access }) {
    const { bucket, name } = objectTarget(c.req.path, route)
    const download = queryOf(c).get('download') ?? undefined
    return sendObject(c, services, { ...who, bucket, name, download })
  }

  async function info(c: AppContext, route: string, who: { caller: Caller; access: Access }) {
    const { bucket, name } = logged(c, objectTarget(c.req.path, route))
    const object = await files.find(who.caller, who.access, bucket, name)
    return successResponse(c, services, infoJson(object), { fields: { checksum: object.checksum } })
  }

  return (
    new Hono<Env>()
      // Fixed words win over bucket names (contract §3.2), so they stand first.
      .get('/object/public/:bucket/:key{.*}', (c) =>
        download(c, '/object/public/', {
          caller: anonymousCaller(
            c,
            services,
            isHead(c) ? 'storage.object.info_public' : 'storage.object.get_public',
          ),
          access: 'public',
        }),
      )
      .get('/object/authenticated/:bucket/:key{.*}', async (c) => {
        const caller = await requireCaller(c, services, downloadOperation(c))
        return download(c, '/object/authenticated/', { caller, access: 'caller' })
      })
      .get('/object/info/public/:bucket/:key{.*}', (c) => {
        const caller = anonymousCaller(c, services, 'storage.object.info_public')
        return info(c, '/object/info/public/', { caller, access: 'public' })
      })
      .get('/object/info/authenticated/:bucket/:key{.*}', async (c) => {
        const caller = await requireCaller(c, services, 'object.get_authenticated_info')
        return info(c, '/object/info/authenticated/', { caller, access: 'caller' })
      })
      .get('/object/info/:bucket/:key{.*}', async (c) =>
        info(c, '/object/info/', await optionalCaller(c, services, 'object.get_authenticated_info')),
      )
      .post('/object/move', async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.move')
        const body = await readJson(c.env.incoming, moveSchema)
        const { from, to } = logged(c, route(body))
        await files.move(caller, from, to)
        return c.json({ message: 'Successfully moved' })
      })
      .post('/object/copy', async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.copy')
        const body = await readJson(c.env.incoming, copySchema)
        const { from, to } = logged(c, route(body))
        const { object } = await files.copy(caller, {
          from,
          to,
          upsert: c.req.header('x-upsert') === 'true',
          replace:
            body.copyMetadata === false
              ? {
                  contentType: parseContentType(body.metadata?.mimetype ?? undefined),
                  cacheControl: optional(body.metadata?.cacheControl, headerValue),
                  contentEncoding: optional(body.metadata?.contentEncoding, headerValue),
                  userMetadata: metadataFromHeader(c.req.header('x-metadata')) ?? null,
                }
              : undefined,
        })
        return successResponse(
          c,
          services,
          { Id: object.id, Key: keyOf(object), ...rowJson(object) },
          { fields: ownFields(object) },
        )
      })
      .get('/object/:bucket/:key{.*}', async (c) => {
        if (hasUrlToken(c)) return sendSigned(c, services, '/object/')
        return download(c, '/object/', await optionalCaller(c, services, downloadOperation(c)))
      })
      .post('/object/:bucket/:key{.*}', (c) =>
        upload(c, 'storage.object.upload', c.req.header('x-upsert') === 'true'),
      )
      .put('/object/:bucket/:key{.*}', (c) => upload(c, 'storage.object.upload_update', true))
      .delete('/object/:bucket', async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.delete_many')
        const { bucket } = objectTarget(c.req.path, '/object/')
        c.get('log').bucket = bucket
        const { prefixes } = await readJson(c.env.incoming, deleteSchema)
        const rows = await files.removeMany(caller, bucket, prefixes)
        return c.json(rows.map(deletedJson))
      })
      .delete('/object/:bucket/:key{.*}', async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.delete')
        const { bucket, name } = logged(c, objectTarget(c.req.path, '/object/'))
        await files.remove(caller, bucket, name)
        return successResponse(c, services, { message: 'Successfully deleted' }, { status: 204 })
      })
  )
}

/** Answers an upload: Supabase's own body, and the object itself (design §8). */
export function uploadResponse(
  c: AppContext,
  services: Services,
  { object, created }: Stored,
  body: Record<string, unknown>,
): Response {
  c.get('log').size = object.size ?? 0
  // PUT is an update, which RFC 9110 §9.3.4 answers with 201 only when there was nothing before.
  const status = created || c.req.method === 'POST' ? 201 : 200
  return successResponse(c, services, body, { status, fields: ownFields(object) })
}

export function keyOf(object: { bucket: string; name: string }): string {
  return `${object.bucket}/${object.name}`
}

/** Remembers for the log what a request is about. */
export function logged<T extends { bucket: string; name: string } | ReturnType<typeof route>>(
  c: AppContext,
  about: T,
): T {
  const { bucket, name } = 'from' in about ? about.from : about
  c.get('log').bucket = bucket
  c.get('log').path = name
  return about
}

/** The query as the client wrote it; node's URL parser is not asked, since it would see other bytes. */
export function queryOf(c: AppContext): URLSearchParams {
  return new URLSearchParams(requestTarget(c.env.incoming).query)
}

function route(body: z.infer<typeof moveSchema>) {
  return {
    from: { bucket: body.bucketId, name: body.sourceKey },
    to: { bucket: body.destinationBucket ?? body.bucketId, name: body.destinationKey },
  }
}

function optional<T>(text: string | null | undefined, parse: (text: string) => T): T | undefined {
  return text == null ? undefined : parse(text)
}

function isHead(c: AppContext): boolean {
  return c.req.method === 'HEAD'
}

function downloadOperation(c: AppContext): string {
  return isHead(c) ? 'object.head_authenticated_info' : 'storage.object.get_authenticated'
}

/** Design §8: the object itself. */
function ownFields(object: StoredObject) {
  return {
    id: object.id,
    bucket: object.bucket,
    path: object.name,
    size: object.size,
    content_type: object.contentType,
    checksum: object.checksum,
    owner_id: object.ownerId,
    metadata: object.userMetadata,
    created_at: object.createdAt,
    updated_at: object.updatedAt,
  }
}

/** Contract §3.7. */
function infoJson(object: StoredObject) {
  const known = object.systemMetadata
  return {
    id: object.id,
    name: object.name,
    version: object.version,
    bucket_id: object.bucket,
    size: object.size,
    content_type: known?.mimetype ?? null,
    cache_control: known?.cacheControl ?? null,
    etag: known?.eTag ?? null,
    metadata: object.userMetadata,
    last_modified: object.updatedAt,
    created_at: object.createdAt,
    content_encoding: object.contentEncoding,
  }
}

/** A row of contract §3.8: texts that are null appear as `""`. */
function rowJson(object: StoredObject) {
  return {
    name: object.name,
    bucket_id: object.bucket,
    owner: asUuid(object.ownerId) ?? '',
    owner_id: object.ownerId ?? '',
    version: object.version ?? '',
    id: object.id,
    created_at: object.createdAt,
    updated_at: object.updatedAt,
    last_accessed_at: object.updatedAt,
    metadata: object.systemMetadata,
    user_metadata: object.userMetadata,
  }
}

function deletedJson(row: DeletedRow) {
  return {
    name: row.name ?? '',
    bucket_id: row.bucketId ?? '',
    owner: row.owner ?? '',
    owner_id: row.ownerId ?? '',
    version: row.version ?? '',
    id: row.id,
    created_at: row.createdAt,
    updated_at: row.updatedAt,
    last_accessed_at: row.lastAccessedAt,
    metadata: row.metadata,
    user_metadata: row.userMetadata,
  }
}
