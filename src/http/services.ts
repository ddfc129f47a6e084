import type { Events } from '../events/open.ts'
import type { PartHealth, Parts } from '../model/part-health.ts'
import type { Audit } from '../storage/audit/audit.ts'
import type { Backups } from '../storage/backups/backups.ts'
import type { BucketStorage } from '../storage/buckets/bucket-storage.ts'
import type { Credentials } from '../storage/credentials/credentials.ts'
import type { FileStorage } from '../storage/file-storage.ts'
import type { FilteredLists } from '../storage/filtered-lists.ts'
import type { IdempotentRequests } from '../storage/idempotent-requests.ts'
import type { BucketLifecycle } from '../storage/lifecycle/bucket-lifecycle.ts'
import type { LifecyclePolicies } from '../storage/lifecycle/lifecycle-policies.ts'
import type { DownloadCounts } from '../storage/links/download-counts.ts'
import type { LinkRevoker } from '../storage/links/link-revoker.ts'
import type { SignedFolders } from '../storage/links/signed-folders.ts'
import type { SignedUrls } from '../storage/links/signed-urls.ts'
import type { MultipartUploads } from '../storage/multipart/multipart-uploads.ts'
import type { ObjectLists } from '../storage/object-lists.ts'
import type { ObjectLocks } from '../storage/object-locks.ts'
import type { ResumableUploads } from '../storage/resumable/resumable-uploads.ts'
import type { SharedObjects } from '../storage/shares/shared-objects.ts'
import type { Shares } from '../storage/shares/shares.ts'
import type { TimeTravel } from '../storage/time-travel.ts'
import type { Trash } from '../storage/versions/trash.ts'
import type { RateLimits } from './auth/rate-limits.ts'
import type { TokenVerifier } from './auth/token-verifier.ts'
import type { Connections } from './connection/connections.ts'
import type { Listeners } from './connection/listeners.ts'
import type { YieldingCapacity } from './connection/yielding-capacity.ts'
import type { Cors } from './middleware/cors.ts'

/** What the routes call, handed down from the composition root. */
export interface Services {
  files: FileStorage
  filteredLists: FilteredLists
  lists: ObjectLists
  locks: ObjectLocks
  timeTravel: TimeTravel
  buckets: BucketStorage
  trash: Trash
  urls: SignedUrls
  folders: SignedFolders
  /** Requests that clients may send again. */
  idempotency: IdempotentRequests
  /** How often signed URLs were used that work a number of times. */
  counts: DownloadCounts
  revoker: LinkRevoker
  /** For who shares. */
  shares: Shares
  /** For whoever has a share's link. */
  sharedObjects: SharedObjects
  resumable: ResumableUploads
  multipart: MultipartUploads
  tokens: TokenVerifier
  /** Access keys of S3 clients. */
  credentials: Credentials
  audit: Audit
  backups: Backups
  lifecycle: LifecyclePolicies
  bucketLifecycle: BucketLifecycle
  /** The database roles that a token may name, and an access key. */
  roles: string[]
  events: Events
  /** After so much silence a stream of events is told that it is still there. In milliseconds. */
  keepAliveMs: number
  connections: Connections
  listeners: Listeners
  /** Undefined where no client has limits. */
  rates: RateLimits | undefined
  /** The places for requests under way. */
  requests: YieldingCapacity
  /**
   * The places for uploads under way. An upload takes one when its caller's policies have allowed it, before its body is
   * waited for: who may not upload holds none.
   */
  uploads: YieldingCapacity
  health: Health
  /** Largest object, in bytes, whatever its bucket says. */
  maxFileSize: number
  userBuckets: boolean
  /** Whether the OpenAPI document is served, and its page. */
  documentation: boolean
  /** Whether readers may be sent to the store (STORAGE_S3_REDIRECT). */
  redirects: boolean
  supabaseCompat: boolean
  cors: Cors
  publicUrl: string | undefined
  trustProxy: boolean
  version: string
}

/** How the parts of the server are. It costs nothing worth speaking of however often somebody asks, and never fails. */
export interface Health {
  database(): Promise<PartHealth>
  storage(): Promise<PartHealth>
  /** Those that it can go on without, as far as they are in use. */
  others(): Promise<Parts>
}
