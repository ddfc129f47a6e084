import { Hono } from 'hono'
import type { BackupJob } from '../../database/queries/backup-jobs.ts'
import { requireCaller } from '../auth/caller.ts'
import type { AppContext, Env } from '../env.ts'
import { checkShape, jsonReader } from '../message/json-body.ts'
import { queryOf } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import {
  createBackup,
  createSchema,
  deleteBackup,
  getBackup,
  listBackups,
  pageSchema,
  restoreBackup,
  restoreSchema,
} from './operations/backups.ts'

/** Backups and restores, for the service alone (decision 0058). */
export function backupRoutes(services: Services) {
  const { backups } = services
  const readJson = jsonReader(services)
  const serviceOf = (c: AppContext, operation: string) =>
    requireCaller(c, services, `storage.backup.${operation}`)
  const idOf = (c: AppContext) => {
    const id = c.req.path.split('/')[2]?.toLowerCase() ?? ''
    c.env.notes.resourceId = id
    return id
  }

  return new Hono<Env>()
    .post(
      '/backup',
      operation(createBackup, async (c) => {
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
        c.env.notes.resourceId = job.id
        return c.json(jobJson(job), 202)
      }),
    )
    .get(
      '/backup',
      operation(listBackups, async (c) => {
        const caller = await serviceOf(c, 'list')
        const page = checkShape('querystring', Object.fromEntries(queryOf(c.env)), pageSchema)
        const { limit, kind } = page
        const jobs = await backups.list(caller, { before: page.cursor, limit: limit + 1, kind })
        const items = jobs.slice(0, limit).map(jobJson)
        return c.json({ items, next: jobs.length > limit ? (items.at(-1)?.id ?? null) : null })
      }),
    )
    .get(
      '/backup/:id',
      operation(getBackup, async (c) => {
        return c.json(jobJson(await backups.get(await serviceOf(c, 'get'), idOf(c))))
      }),
    )
    .delete(
      '/backup/:id',
      operation(deleteBackup, async (c) => {
        await backups.delete(await serviceOf(c, 'delete'), idOf(c))
        return c.body(null, 204)
      }),
    )
    .post(
      '/backup/:id/restore',
      operation(restoreBackup, async (c) => {
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
      }),
    )
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
    note: job.note,
    created_at: job.createdAt,
    created_by: job.createdBy,
  }
}

/** As `restore` has kept it. */
function restoreJson({ mode, prefix, intoBucket, dryRun }: Record<string, unknown>) {
  return { mode, prefix, into_bucket: intoBucket, dry_run: dryRun }
}
