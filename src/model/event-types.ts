/** What can happen (design §9). */
export const EVENT_TYPES = [
  'storage.object.created',
  'storage.object.updated',
  'storage.object.deleted',
  'storage.object.purged',
  'storage.version.created',
  'storage.share.created',
  'storage.share.accessed',
  'storage.share.revoked',
  'storage.bucket.created',
  'storage.bucket.deleted',
  'storage.link.revoked',
  'storage.backup.completed',
] as const
export type EventType = (typeof EVENT_TYPES)[number]
