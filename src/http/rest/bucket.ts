import { Hono } from 'hono'
import type { z } from 'zod'
import type { BucketRow, BucketStats } from '../../database/queries/buckets.ts'
import { bucketValidators } from '../../storage/buckets/bucket-rules.ts'
import type { BucketRequest } from '../../storage/buckets/bucket-storage.ts'
import { askerOf, requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logTarget } from '../env.ts'
import { checkConditions, refuseCondition, writeCondition } from '../message/conditionals.ts'
import { checkShape, jsonReader } from '../message/json-body.ts'
import { decodeSegment, queryOf } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { checkOffset } from './offset.ts'
import {
  type BucketSettings,
  createBucket,
  createSchema,
  deleteBucket,
  emptyBucket,
  getBucket,
  getSchema,
  listBuckets,
  listSchema,
  updateBucket,
  updateSchema,
} from './operations/bucket.ts'
import { successList, successResponse } from './responses.ts'

/** What Supabase says, whose clients are told before the work is done (wire §2.3). Here it is done by then. */
const EMPTY_QUEUED = 'Empty bucket has been queued. Completion may take up to an hour.'

/** A path that is no object's means the same with a slash at its end: some clients join theirs so. */
function withSlash(path: string): string[] {
  return [path, `${path}/`]
}

export function bucketRoutes(services: Services) {
  const { buckets, supabaseCompat } = services
  const readJson = jsonReader(services)

  /** How much is in each of these buckets, when it is asked for: every row of theirs is read. */
  async function statsOf(
    asker: string,
    rows: BucketRow[],
    { stats }: { stats?: string | undefined },
  ): Promise<((id: string) => BucketStats) | undefined> {
    if (stats !== 'true' || supabaseCompat) return undefined
    return buckets.stats(
      asker,
      rows.map((row) => row.id),
    )
  }

  async function update(c: AppContext) {
    const caller = await requireCaller(c, services, 'storage.bucket.update')
    const body = await readJson(c.env.incoming, updateSchema)
    await buckets.update(caller, bucketId(c), asRequest(body), writeCondition(c.env.incoming.headers))
    return c.json({ message: 'Successfully updated' })
  }

  return new Hono<Env>()
    .on(
      'POST',
      withSlash('/bucket'),
      operation(createBucket, async (c) => {
        const caller = await requireCaller(c, services, 'storage.bucket.create')
        const body = await readJson(c.env.incoming, createSchema)
        const { name, id = name, type = 'STANDARD' } = body
        logTarget(c, id)
        const request = { ...asRequest(body), id, name, type }
        await buckets.create(caller, request, writeCondition(c.env.incoming.headers))
        return successResponse(c, services, { name }, { status: 201 })
      }),
    )
    .on(
      'GET',
      withSlash('/bucket'),
      operation(listBuckets, async (c) => {
        const caller = await requireCaller(c, services, 'storage.bucket.list')
        const query = checkShape('querystring', sentQuery(c), listSchema)
        checkOffset(services, query.offset)
        const asker = askerOf(c, services, caller)
        const rows = await buckets.list(caller, asker, {
          limit: query.limit,
          offset: query.offset,
          column: query.sortColumn,
          order: query.sortOrder,
          search: query.search,
        })
        const stats = await statsOf(asker, rows, query)
        const isOld = isOldPythonClient(c)
        const items = rows.map((row) => ({
          body: { ...bucketJson(row, isOld), ...(!isOld && { type: row.type }) },
          fields: ownFields(row, stats?.(row.id)),
        }))
        return successList(c, services, items)
      }),
    )
    .on(
      'GET',
      withSlash('/bucket/:id'),
      operation(getBucket, async (c) => {
        const caller = await requireCaller(c, services, 'storage.bucket.get')
        const query = supabaseCompat ? {} : checkShape('querystring', sentQuery(c), getSchema)
        const row = await buckets.get(caller, bucketId(c))
        const stats = await statsOf(askerOf(c, services, caller), [row], query)
        // The tag is of the settings: statistics change without it.
        if (!stats) {
          const current = bucketValidators(row)
          c.header('ETag', current.etag)
          const ifNoneMatch = c.req.header('if-none-match')
          if (checkConditions({ ifNoneMatch }, current) === 'not-modified') return c.body(null, 304)
        }
        return successResponse(c, services, bucketJson(row, isOldPythonClient(c)), {
          fields: ownFields(row, stats?.(row.id)),
        })
      }),
    )
    .on(['PUT', 'PATCH'], withSlash('/bucket/:id'), operation(updateBucket, update))
    .on(
      'POST',
      withSlash('/bucket/:id/empty'),
      operation(emptyBucket, async (c) => {
        const caller = await requireCaller(c, services, 'storage.bucket.empty')
        refuseCondition(c.env.incoming.headers)
        await buckets.empty(caller, bucketId(c))
        return c.json({ message: supabaseCompat ? EMPTY_QUEUED : 'Successfully emptied' })
      }),
    )
    .on(
      'DELETE',
      withSlash('/bucket/:id'),
      operation(deleteBucket, async (c) => {
        const caller = await requireCaller(c, services, 'storage.bucket.delete')
        await buckets.delete(caller, bucketId(c), writeCondition(c.env.incoming.headers))
        return c.json({ message: 'Successfully deleted' })
      }),
    )
}

function sentQuery(c: AppContext): Record<string, string> {
  return Object.fromEntries(queryOf(c.env))
}

function bucketId(c: AppContext): string {
  const id = decodeSegment(c.req.path.split('/')[2] ?? '')
  logTarget(c, id)
  return id
}

function asRequest(
  body: Pick<z.infer<typeof createSchema>, keyof BucketSettings> &
    Pick<z.infer<typeof updateSchema>, 'versioning_status'>,
): BucketRequest {
  return {
    policy: body.policy,
    public: body.public === null ? false : body.public,
    fileSizeLimit: body.max_file_size !== undefined ? body.max_file_size : body.file_size_limit,
    allowedMimeTypes: body.allowed_mime_types,
    versioningStatus: body.versioning_status,
    objectLock: body.object_lock ?? undefined,
    retentionDays: body.retention_days,
    trashDays: body.trash_days,
    maxVersions: body.max_versions,
    versionRetentionDays: body.version_retention_days,
    pathTemplate: body.path_template,
  }
}

/** Wire §2.1. */
function bucketJson(row: BucketRow, forOldClient: boolean) {
  return {
    id: row.id,
    name: row.name,
    owner: row.owner ?? '', // never null: storage-js types it as a string
    public: row.public ?? false,
    file_size_limit: row.fileSizeLimit,
    allowed_mime_types: row.allowedMimeTypes,
    created_at: row.createdAt,
    updated_at: row.updatedAt,
    ...(!forOldClient && { versioning_status: row.versioningStatus }),
  }
}

/** Wire §2.1. */
function ownFields(row: BucketRow, stats: BucketStats | undefined) {
  return {
    policy: row.policy,
    max_file_size: row.fileSizeLimit,
    object_lock: row.objectLock,
    retention_days: row.retentionDays,
    trash_days: row.trashDays,
    max_versions: row.maxVersions,
    version_retention_days: row.versionRetentionDays,
    path_template: row.pathTemplate,
    ...(stats && { file_count: stats.fileCount, total_size: stats.totalSize }),
  }
}

/** These crash on fields that they do not know (wire §2.4). */
function isOldPythonClient(c: AppContext): boolean {
  const userAgent = c.req.header('user-agent') ?? ''
  const clientInfo = c.req.header('x-client-info') ?? ''
  return (
    isOlder(/^supabase-py\/storage3 v?(\d+)\.(\d+)\.(\d+)/.exec(userAgent), [0, 12, 1]) ||
    isOlder(/^supabase-py\/v?(\d+)\.(\d+)\.(\d+)/.exec(clientInfo), [2, 18, 0])
  )
}

function isOlder(match: RegExpExecArray | null, than: number[]): boolean {
  if (!match) return false
  const version = match.slice(1).map(Number)
  const at = version.findIndex((part, index) => part !== than[index])
  return at >= 0 && (version[at] ?? 0) < (than[at] ?? 0)
}
