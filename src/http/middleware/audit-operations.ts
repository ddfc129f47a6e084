import type { AuditAction, AuditedResource } from '../../telemetry/audit-entry.ts'

/** What an operation is to the audit log. */
export interface AuditedOperation {
  action: AuditAction
  on: AuditedResource
  /** Whether it changes nothing: told of with STORAGE_AUDIT=all. */
  isRead?: boolean
  /** Whether it is a step alone, of which only a refusal is told. */
  isStep?: boolean
}

const upload: AuditedOperation = { action: 'upload', on: 'object' }
const step: AuditedOperation = { ...upload, isStep: true }
const download: AuditedOperation = { action: 'download', on: 'object', isRead: true }
/** A URL is issued, with which others have what the caller has. */
const access: AuditedOperation = { action: 'access', on: 'object', isRead: true }
const remove: AuditedOperation = { action: 'delete', on: 'object' }
const update: AuditedOperation = { action: 'update', on: 'object' }
const move: AuditedOperation = { action: 'move', on: 'object' }
const restore: AuditedOperation = { action: 'restore', on: 'object' }
const copy: AuditedOperation = { action: 'copy', on: 'object' }
const lock: AuditedOperation = { action: 'lock', on: 'object' }

/** By the operations' names (wire §3.2, §5.1, §6.10). */
const OPERATIONS = new Map<string, AuditedOperation>([
  ['storage.object.upload', upload],
  ['storage.object.upload_update', upload],
  ['storage.object.upload_signed', upload],
  ['storage.tus.upload.create', upload],
  ['storage.tus.upload.create_signed', upload],
  ['storage.tus.upload.part', upload],
  ['storage.tus.upload.part_signed', upload],
  // Which may make an object whose bytes were all there.
  ['storage.tus.upload.get', { ...upload, isStep: true }],
  ['storage.tus.upload.get_signed', { ...upload, isStep: true }],
  ['storage.s3.upload', upload],
  ['storage.s3.upload.complete_multipart', upload],
  ['storage.s3.upload.create_multipart', step],
  ['storage.s3.upload.part', step],
  ['storage.s3.upload.part_copy', step],
  ['storage.object.get_public', download],
  ['storage.object.get_authenticated', download],
  ['storage.object.get_signed', download],
  ['storage.s3.object.get', download],
  ['storage.object.sign', access],
  ['storage.object.sign_many', access],
  ['storage.object.sign_upload_url', access],
  ['storage.object.sign_revoke', { action: 'revoke', on: 'object' }],
  ['storage.object.delete', remove],
  ['storage.object.delete_many', remove],
  ['storage.s3.object.delete', remove],
  ['storage.s3.object.delete_many', remove],
  ['storage.object.move', move],
  ['storage.s3.object.rename', move],
  ['storage.object.copy', copy],
  ['storage.object.update', update],
  ['storage.s3.object.copy', copy],
  ['storage.s3.object.put_tagging', update],
  ['storage.s3.object.delete_tagging', update],
  ['storage.object.add_version', upload],
  ['storage.object.restore_version', restore],
  ['storage.object.restore', restore],
  ['storage.object.purge', remove],
  ['storage.object.empty_trash', { action: 'empty', on: 'object' }],
  ['storage.object.lock', lock],
  ['storage.s3.object.put_retention', lock],
  ['storage.s3.object.put_legal_hold', lock],
  ['storage.s3.bucket.put_object_lock', { action: 'update', on: 'bucket' }],
  ['storage.bucket.create', { action: 'create', on: 'bucket' }],
  ['storage.bucket.update', { action: 'update', on: 'bucket' }],
  ['storage.bucket.delete', { action: 'delete', on: 'bucket' }],
  ['storage.bucket.empty', { action: 'empty', on: 'bucket' }],
  ['storage.bucket.put_lifecycle', { action: 'update', on: 'bucket' }],
  ['storage.bucket.delete_lifecycle', { action: 'update', on: 'bucket' }],
  ['storage.s3.bucket.put_lifecycle', { action: 'update', on: 'bucket' }],
  ['storage.s3.bucket.delete_lifecycle', { action: 'update', on: 'bucket' }],
  ['storage.s3.bucket.create', { action: 'create', on: 'bucket' }],
  ['storage.s3.bucket.put_acl', { action: 'update', on: 'bucket' }],
  ['storage.s3.bucket.put_versioning', { action: 'update', on: 'bucket' }],
  ['storage.s3.bucket.delete', { action: 'delete', on: 'bucket' }],
  ['storage.webhook.create', { action: 'create', on: 'webhook' }],
  ['storage.webhook.update', { action: 'update', on: 'webhook' }],
  ['storage.webhook.delete', { action: 'delete', on: 'webhook' }],
  ['storage.webhook.replay', { action: 'replay', on: 'webhook' }],
  ['storage.webhook.delete_dead_letter', { action: 'update', on: 'webhook' }],
  ['storage.credential.create', { action: 'create', on: 'credential' }],
  ['storage.credential.revoke', { action: 'delete', on: 'credential' }],
  ['storage.backup.create', { action: 'create', on: 'backup' }],
  ['storage.backup.delete', { action: 'delete', on: 'backup' }],
  ['storage.backup.restore', { action: 'restore', on: 'backup' }],
  ['storage.share.create', { action: 'share', on: 'share' }],
  ['storage.share.update', { action: 'update', on: 'share' }],
  ['storage.share.revoke', { action: 'revoke', on: 'share' }],
  ['storage.share.revoke_all', { action: 'revoke', on: 'share' }],
  ['storage.share.info', { action: 'share_access', on: 'share', isRead: true }],
  ['storage.share.access', { action: 'share_access', on: 'share', isRead: true }],
  ['storage.share.download', { action: 'share_access', on: 'share', isRead: true }],
  ['storage.share.delete_file', remove],
  ['storage.lifecycle.create', { action: 'create', on: 'lifecycle' }],
  ['storage.lifecycle.update', { action: 'update', on: 'lifecycle' }],
  ['storage.lifecycle.delete', { action: 'delete', on: 'lifecycle' }],
  ['storage.lifecycle.run', { action: 'run', on: 'lifecycle' }],
])

/** What the service has looked at, by what it is about. */
const LOOKS: Record<string, AuditedOperation> = Object.fromEntries(
  (
    ['object', 'bucket', 'webhook', 'credential', 'backup', 'lifecycle', 'share', 'event', 'audit'] as const
  ).map((on) => [on, { action: 'read', on, isRead: true }]),
)

/**
 * What an operation is to the audit log; undefined when it is nothing to it. Whatever the service does is something, with lists
 * and the like as reads.
 */
export function auditedOperation(
  operation: string | undefined,
  role: string | undefined,
): AuditedOperation | undefined {
  if (operation === undefined) return undefined
  const known = OPERATIONS.get(operation)
  if (known || role !== 'service_role') return known
  const [, about = ''] =
    /(?:^|\.)(object|bucket|webhook|credential|backup|lifecycle|share|event|audit)\./.exec(operation) ?? []
  return LOOKS[about]
}
