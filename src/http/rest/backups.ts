import { Hono } from 'hono'
import { z } from 'zod'
import type { BackupJob } from '../../database/queries/backup-jobs.ts'
import { UUID } from '../../lib/uuid.ts'
import { requireCaller } from '../auth/caller.ts'
import type { AppContext, Env } from '../env.ts'
import { checkShape, jsonReader } from '../message/json-body.ts'
import { fields, flag, integer, optional, textList } from '../message/json-fields.ts'
import { pageLimit } from '../message/page-limit.ts'
import { queryOf } from '../message/request-path.ts'
import type { Services } from '../services.ts'

const pageSchema = z.object({
  limit: pageLimit,
  cursor: z
    .string()
    .toLowerCase()
    .regex(UUID, 'must be the id of a backup or a restore')
    .nullable()
    .default(null),
  kind: z.enum(['backup', 'restore'], 'must be backup or restore').nullable().default(null),
})

/** Buckets that one request names. A name has at most 100 characters, so that many fit into a body. */
const MOST_BUCKETS = 500

const bucketList = textList(
  z
    .array(z.string().min(1).max(100), 'must be an array of bucket ids')
    .min(1, 'must name at least one bucket')
    .max(MOST_BUCKETS, `must name at most ${MOST_BUCKETS} buckets`),
)

const MOST_DAYS = 36_500

const createSchema = fields({
  type: optional(z.enum(['full', 'incremental'], 'must be full or incremental')),
  buckets: optional(bucketList),
  include_versions: optional(flag()),
  include_trash: optional(flag()),
  description: optional(z.string('must be a text').max(1000, 'must have at most 1000 characters')),
  retention_days: optional(
    integer(
      z
        .int(`must be a whole number from 1 to ${MOST_DAYS}`)
        .min(1, `must be a whole number from 1 to ${MOST_DAYS}`)
        .max(MOST_DAYS, `must be a whole number from 1 to ${MOST_DAYS}`),
    ),
  ),
})

const restoreSchema = fields({
  mode: optional(z.enum(['missing', 'replace'], 'must be missing or replace')),
  buckets: optional(bucketList),
  prefix: optional(z.string('must be a text').max(1024, 'must have at most 1024 characters')),
  into_bucket: optional(z.string('must be the id of a bucket').min(1).max(100)),
  dry_run: optional(flag()),
}).refine(({ into_bucket, buckets }) => into_bucket === undefined || buckets?.length === 1, {
  path: ['into_bucket'],
  message: 'is for one bucket, which buckets names',
})

/** Backups and restores, for the service alone (decision 0058). */
export function backupRoutes(services: Services) {
  const { backups } = services
  const readJson = jsonReader(services)
  const serviceOf = (c: AppContext, operation: string) =>
    requireCaller(c, services, `storage.backup.${operation}`)
  const idOf = (c: AppContext) => c.req.path.split('/')[2]?.toLowerCase() ?? ''

  return new Hono<Env>()
    .post('/backup', async (c) => {
      const caller = await serviceOf(c, 'create')
      const body = await readJson(c.env.incoming, createSchema)
      const job = await backups.create(caller, {
        type: body.type ?? 'full',
        buckets: body.buckets ?? null,
        includeVersions: body.include_versions ?? true,
        includeTrash: body.include_trash ?? false,
        description: body.description ?? '',
        retentionDays: body.retention_days ?? null,
      })
      return c.json(jobJson(job), 202)
    })
    .get('/backup', async (c) => {
      const caller = await serviceOf(c, 'list')
      const page = checkShape('querystring', Object.fromEntries(queryOf(c.env)), pageSchema)
      const { limit, kind } = page
      const jobs = await backups.list(caller, { before: page.cursor, limit: limit + 1, kind })
      const items = jobs.slice(0, limit).map(jobJson)
      return c.json({ items, next: jobs.length > limit ? (items.at(-1)?.id ?? null) : null })
    })
    .get('/backup/:id', async (c) => {
      return c.json(jobJson(await backups.get(await serviceOf(c, 'get'), idOf(c))))
    })
    .delete('/backup/:id', async (c) => {
      await backups.delete(await serviceOf(c, 'delete'), idOf(c))
      return c.body(null, 204)
    })
    .post('/backup/:id/restore', async (c) => {
      const caller = await serviceOf(c, 'restore')
      const body = await readJson(c.env.incoming, restoreSchema)
      const job = await backups.restore(caller, idOf(c), {
        mode: body.mode ?? 'missing',
        buckets: body.buckets ?? null,
        prefix: body.prefix ?? '',
        intoBucket: body.into_bucket ?? null,
        dryRun: body.dry_run ?? false,
      })
      return c.json(jobJson(job), 202)
    })
}

function jobJson(job: BackupJob) {
  return {
    id: job.id,
    kind: job.kind,
    type: job.type,
    status: job.status,
    target: job.target,
    parent: job.parent,
    description: job.description,
    buckets: job.buckets,
    include_versions: job.includeVersions,
    include_trash: job.includeTrash,
    ...(job.kind === 'restore' && restoreJson(job.request)),
    progress: job.progress,
    object_count: job.objectCount,
    total_bytes: job.totalBytes,
    damaged: job.damaged,
    started_at: job.startedAt,
    completed_at: job.completedAt,
    expires_at: job.expiresAt,
    error: job.error,
    created_at: job.createdAt,
    created_by: job.createdBy,
  }
}

/** As `restore` has kept it. */
function restoreJson({ mode, prefix, intoBucket, dryRun }: Record<string, unknown>) {
  return { mode, prefix, into_bucket: intoBucket, dry_run: dryRun }
}
