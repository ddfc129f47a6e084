import { z } from 'zod'
import { UUID } from '../../../lib/uuid.ts'
import { fields, flag, integer, optional, textList } from '../../message/json-fields.ts'
import { pageLimit } from '../../message/page-limit.ts'
import type { Describe, Operation } from '../../openapi/operation.ts'
import { pageOf, time, uuid } from '../../openapi/shapes.ts'

export const pageSchema = z.object({
  limit: pageLimit,
  cursor: z
    .string()
    .toLowerCase()
    .regex(UUID, 'must be the id of a backup or a restore')
    .nullable()
    .default(null)
    .describe('`next` of the page before.'),
  kind: z.enum(['backup', 'restore', 'drill'], 'must be backup, restore or drill').nullable().default(null),
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

export const createSchema = fields({
  type: optional(z.enum(['full', 'incremental'], 'must be full or incremental')),
  buckets: optional(bucketList).describe('All of them without it.'),
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

export const restoreSchema = fields({
  mode: optional(z.enum(['missing', 'replace'], 'must be missing or replace')),
  buckets: optional(bucketList).describe('All of the backup without it.'),
  prefix: optional(z.string('must be a text').max(1024, 'must have at most 1024 characters')),
  into_bucket: optional(z.string('must be the id of a bucket').min(1).max(100)).describe(
    'Another bucket than the one of `buckets`.',
  ),
  dry_run: optional(flag()).describe('Only counts.'),
}).refine(({ into_bucket, buckets }) => into_bucket === undefined || buckets?.length === 1, {
  path: ['into_bucket'],
  message: 'is for one bucket, which buckets names',
})

/** As `jobJson` makes it. */
const job = z
  .strictObject({
    id: uuid,
    kind: z.enum(['backup', 'restore', 'drill']),
    type: z.enum(['full', 'incremental']).nullable().describe('Of a backup, else null.'),
    status: z.enum(['pending', 'running', 'completed', 'failed', 'expired', 'restoring', 'restored']),
    target: z.string(),
    parent: uuid
      .nullable()
      .describe('What an incremental backup builds on, or a restore or a drill brings back.'),
    description: z.string(),
    buckets: z.array(z.string()).nullable().describe('Null is all.'),
    include_versions: z.boolean(),
    include_trash: z.boolean(),
    mode: z.enum(['missing', 'replace']).optional().describe('Of a restore, as the three below.'),
    prefix: z.string().optional(),
    into_bucket: z.string().nullable().optional(),
    dry_run: z.boolean().optional(),
    progress: z.number().min(0).max(1),
    object_count: z.int(),
    total_bytes: z.int(),
    damaged: z.int().describe('Objects whose bytes were not those that were uploaded.'),
    started_at: time.nullable(),
    completed_at: time.nullable(),
    expires_at: time.nullable(),
    error: z.string().nullable(),
    note: z.string().nullable().describe('What else is to be known of it.'),
    created_at: time,
    created_by: z.string().nullable(),
  })
  .meta({ id: 'BackupJob' })

const backupOperation = (operation: Omit<Operation, 'tag' | 'access' | 'path'>): Operation => ({
  tag: 'Backups',
  access: 'service',
  path: { id: 'The UUID of a backup or a restore.' },
  ...operation,
})

export const createBackup: Describe = () =>
  backupOperation({
    id: 'createBackup',
    summary: 'Asks for a backup',
    body: { json: createSchema, isOptional: true },
    answers: { 202: { description: 'It will begin within a second.', json: job } },
    errors: ['NoSuchBucket', 'BackupRunning', 'FeatureNotEnabled'],
  })

export const listBackups: Describe = () =>
  backupOperation({
    id: 'listBackups',
    summary: 'Lists backups, restores and drills, the newest first',
    query: pageSchema,
    answers: { 200: { description: 'A page.', json: pageOf(job, uuid) } },
    errors: ['InvalidRequest'],
  })

export const getBackup: Describe = () =>
  backupOperation({
    id: 'getBackup',
    summary: 'Tells how far a backup or a restore is',
    answers: { 200: { description: 'The job.', json: job } },
    errors: ['NoSuchBackup'],
  })

export const deleteBackup: Describe = () =>
  backupOperation({
    id: 'deleteBackup',
    summary: 'Deletes a backup',
    description: 'What lies in the target goes soon after.',
    answers: { 204: { description: 'It is deleted.' } },
    errors: ['NoSuchBackup', 'BackupRunning', 'BackupInUse'],
  })

export const restoreBackup: Describe = () =>
  backupOperation({
    id: 'restoreBackup',
    summary: 'Asks for a restore',
    body: { json: restoreSchema, isOptional: true },
    answers: { 202: { description: 'It will begin within a second.', json: job } },
    errors: ['NoSuchBackup', 'NoSuchBucket', 'BackupRunning', 'BackupIncomplete', 'FeatureNotEnabled'],
  })
