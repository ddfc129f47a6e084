import { sql } from 'drizzle-orm'
import {
  bigint,
  boolean,
  customType,
  integer,
  jsonb,
  pgSchema,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core'
import type { QuarantineReason, SystemMetadata, UserMetadata } from '../model/metadata.ts'
import type { AccessLevel, AssetType } from '../model/object-attributes.ts'

/**
 * The tables as TypeScript sees them: Supabase's columns (wire §7.1, §7.2) and ours. The SQL in `drizzle/`
 * is what makes them, with the policies and triggers; `test/database/schema.test.ts` holds the two together.
 */
export const storage = pgSchema('storage')

const moment = (name: string) => timestamp(name, { withTimezone: true, mode: 'date' })

const bucketType = storage.enum('buckettype', ['STANDARD', 'ANALYTICS', 'VECTOR'])

const transactionId = customType<{ data: string }>({ dataType: () => 'xid8' })

/** Who may read and write a bucket without further SQL policies (design §4). */
export const BUCKET_POLICIES = ['private', 'authenticated', 'public'] as const
export type BucketPolicy = (typeof BUCKET_POLICIES)[number]

/** Whether a bucket keeps versions (docs/versions.md). */
export const VERSIONING_STATUSES = ['DISABLED', 'ENABLED', 'SUSPENDED'] as const
export type VersioningStatus = (typeof VERSIONING_STATUSES)[number]

export const buckets = storage.table('buckets', {
  id: text('id').primaryKey(),
  name: text('name').notNull().unique(),
  owner: uuid('owner'),
  ownerId: text('owner_id'),
  public: boolean('public').notNull().default(false),
  avifAutodetection: boolean('avif_autodetection').default(false),
  fileSizeLimit: bigint('file_size_limit', { mode: 'number' }),
  allowedMimeTypes: text('allowed_mime_types').array(),
  type: bucketType('type').notNull().default('STANDARD'),
  versioningStatus: text('versioning_status').notNull().default('DISABLED').$type<VersioningStatus>(),
  createdAt: moment('created_at').defaultNow(),
  updatedAt: moment('updated_at').defaultNow(),
  /** The bucket's part of a location of bytes. */
  uid: uuid('uid').notNull().defaultRandom(),
  policy: text('policy').notNull().$type<BucketPolicy>(),
  /** For how long what is deleted stays where no versions are kept; 0: not at all. */
  trashDays: integer('trash_days').notNull().default(0),
  /** How many versions a name has, the current one included; null: 10. */
  maxVersions: integer('max_versions'),
  /** After how many days one goes that is not current; null: 90. */
  versionRetentionDays: integer('version_retention_days'),
  /** Whether versions can be locked; then they are kept for good. */
  objectLock: boolean('object_lock').notNull().default(false),
  /** For how many days a version is locked from when it becomes current; null: none is by itself. */
  retentionDays: integer('retention_days'),
  /** The names that uploads without one get; null: by the server's own template. */
  pathTemplate: text('path_template'),
})

export const objects = storage.table('objects', {
  id: uuid('id').primaryKey().defaultRandom(),
  bucketId: text('bucket_id').references(() => buckets.id),
  name: text('name'),
  owner: uuid('owner'),
  ownerId: text('owner_id'),
  createdAt: moment('created_at').defaultNow(),
  updatedAt: moment('updated_at').defaultNow(),
  lastAccessedAt: moment('last_accessed_at').defaultNow(),
  metadata: jsonb('metadata').$type<SystemMetadata>(),
  version: text('version'),
  userMetadata: jsonb('user_metadata').$type<UserMetadata>(),
  /** Where the bytes are: the uid of the bucket they were uploaded to. */
  bytesBucket: uuid('bytes_bucket'),
  /** SHA-256, 64 lower-case hexadecimal digits. */
  checksum: text('checksum'),
  /** Words, and what S3 calls tags as `key=value` (storage/object/tags.ts); they go with the version. */
  tags: text('tags').array().notNull().default([]),
  /** What its writer says of this version. */
  versionComment: text('version_comment'),
  /** Why the bytes of this version cannot be had, as a cleanup or a scrub has found; null when nothing is known. */
  quarantineReason: text('quarantine_reason').$type<QuarantineReason>(),
  quarantinedAt: moment('quarantined_at'),
  /** How many days after it was written it goes by itself; null: not at all. */
  autoDeleteAfterDays: integer('auto_delete_after_days'),
  /** When that is; by a trigger. */
  autoDeleteAt: moment('auto_delete_at'),
  /** How its owner calls the file; null: by the last part of its name. */
  fileName: text('file_name'),
  organizationId: text('organization_id'),
  accessLevel: text('access_level').notNull().default('private').$type<AccessLevel>(),
  /** Null: by its content type. */
  assetType: text('asset_type').$type<AssetType>(),
  enableIndexing: boolean('enable_indexing').notNull().default(true),
})

/** Versions being written. */
export const uploads = storage.table('uploads', {
  version: uuid('version').primaryKey(),
  bucketUid: uuid('bucket_uid').notNull(),
  bucketId: text('bucket_id').notNull(),
  name: text('name').notNull(),
  startedAt: moment('started_at').notNull().defaultNow(),
  heartbeatAt: moment('heartbeat_at').notNull().defaultNow(),
})

/** Versions whose bytes are to be removed. */
export const removals = storage.table('removals', {
  version: uuid('version').primaryKey(),
  bucketUid: uuid('bucket_uid').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
  transaction: transactionId('transaction').notNull().default(sql`pg_current_xact_id()`),
})
