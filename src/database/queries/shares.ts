import type { Database } from '../connection/client.ts'
import { Statement } from '../connection/statement.ts'

/** What a share lets whoever has its secret do. */
export interface SharePermissions {
  view: boolean
  download: boolean
  delete: boolean
}

/** A share, as it is now. */
export interface ShareRow {
  share_id: string
  object_id: string
  /** Null is the service. */
  shared_by: string | null
  sharer_role: string
  sharer_claims: Record<string, unknown>
  shared_with: string | null
  shared_with_email: string | null
  permissions: SharePermissions
  /** As `hashPassword` makes it; null when a token is asked for. */
  password_hash: string | null
  /** As `hashToken` makes it. */
  token_hash: string | null
  /** ISO 8601, as PostgreSQL writes it in JSON; so are the others. */
  expires_at: string
  max_downloads: number | null
  download_count: number
  last_downloaded_at: string | null
  is_active: boolean
  revoked_at: string | null
  created_at: string
  updated_at: string
  /** By the database's clock; none or fewer when it has expired. */
  seconds_left: number
  /** Whether so many wrong secrets came in this minute that no password is looked at. */
  is_throttled: boolean
  /** Where the object is; null when it is not there. */
  bucket: string | null
  name: string | null
  bucket_owner: string | null
}

/** What a new one is made of. */
export type NewShare = Pick<
  ShareRow,
  | 'share_id'
  | 'object_id'
  | 'shared_by'
  | 'sharer_role'
  | 'sharer_claims'
  | 'shared_with'
  | 'shared_with_email'
  | 'permissions'
  | 'password_hash'
  | 'token_hash'
  | 'max_downloads'
>

/** Null when there is none. @throws DatabaseUnavailable */
export async function findShare(database: Pick<Database, 'read'>, share: string): Promise<ShareRow | null> {
  const [row] = await database.read(FIND, { share })
  return row?.share ?? null
}

const FIND = new Statement<{ share: string }, { share: ShareRow | null }>(
  'select storage.find_share(:share) as share',
)

/** Whether the URLs that it has issued still work. @throws DatabaseUnavailable */
export async function isShareActive(database: Pick<Database, 'read'>, share: string): Promise<boolean> {
  const [row] = await database.read(IS_ACTIVE, { share })
  return row?.active === true
}

const IS_ACTIVE = new Statement<{ share: string }, { active: boolean }>(
  'select storage.is_share_active(:share) as active',
)

/** What may be shared, and whose it is. */
export interface Sharable {
  objectId: string
  bucket: string
  name: string
  owner: string | null
  bucketOwner: string | null
}

/** By its id, or by its name; past all policies. Null when there is none. @throws DatabaseUnavailable */
export async function findSharable(
  database: Pick<Database, 'read'>,
  target: { id: string } | { bucket: string; path: string },
): Promise<Sharable | null> {
  const asked = 'id' in target ? { object: target.id, bucket: null, path: null } : { object: null, ...target }
  const [row] = await database.read(FIND_SHARABLE, asked)
  if (!row) return null
  return {
    objectId: row.object_id,
    bucket: row.bucket_id,
    name: row.name,
    owner: row.object_owner,
    bucketOwner: row.bucket_owner,
  }
}

const FIND_SHARABLE = new Statement<
  { object: string | null; bucket: string | null; path: string | null },
  {
    object_id: string
    bucket_id: string
    name: string
    object_owner: string | null
    bucket_owner: string | null
  }
>('select * from storage.find_sharable(:object::uuid, :bucket, :path)')

/**
 * @param options.hours until it expires
 * @param options.most active ones that its sharer may have, unless that is the service
 * @returns null when he has them
 */
export async function createShare(
  database: Pick<Database, 'run'>,
  share: NewShare,
  options: { hours: number; most: number; operation: string },
): Promise<ShareRow | null> {
  const [row] = await database.run(CREATE, { said: JSON.stringify(share), ...options })
  return row?.share ?? null
}

const CREATE = new Statement<
  { said: string; hours: number; most: number; operation: string },
  { share: ShareRow | null }
>('select storage.create_share(:said::text::jsonb, :hours, :most, :operation) as share')

export type ShareChanges = Partial<
  Pick<ShareRow, 'permissions' | 'max_downloads' | 'password_hash' | 'token_hash'>
>

/** Null when it is over. @param hours until it expires, from now on; null leaves it as it is */
export async function changeShare(
  database: Pick<Database, 'run'>,
  share: string,
  changes: ShareChanges,
  hours: number | null,
): Promise<ShareRow | null> {
  const [row] = await database.run(CHANGE, { share, said: JSON.stringify(changes), hours })
  return row?.share ?? null
}

const CHANGE = new Statement<
  { share: string; said: string; hours: number | null },
  { share: ShareRow | null }
>('select storage.change_share(:share, :said::text::jsonb, :hours) as share')

/** Returns whether it was active. */
export async function endShare(
  database: Pick<Database, 'run'>,
  share: string,
  operation: string,
): Promise<boolean> {
  const [row] = await database.run(END, { share, operation })
  return row?.ended === true
}

const END = new Statement<{ share: string; operation: string }, { ended: boolean }>(
  'select storage.end_share(:share, :operation) as ended',
)

/** Ends a sharer's, at most so many. Returns how many. */
export async function endSharesOf(
  database: Pick<Database, 'run'>,
  ended: { sharer: string; most: number; operation: string },
): Promise<number> {
  const [row] = await database.run(END_OF, ended)
  return row?.ended ?? 0
}

const END_OF = new Statement<{ sharer: string; most: number; operation: string }, { ended: number }>(
  'select storage.end_shares_of(:sharer, :most, :operation) as ended',
)

/**
 * Tells of an access.
 *
 * @param isCounted whether it is a download, of which there may be so many
 * @returns how often it was downloaded; null when it may not be any more
 */
export async function useShare(
  database: Pick<Database, 'run'>,
  use: { share: string; isCounted: boolean; operation: string },
): Promise<number | null> {
  const [row] = await database.run(USE, use)
  return row?.count ?? null
}

const USE = new Statement<{ share: string; isCounted: boolean; operation: string }, { count: number | null }>(
  'select storage.use_share(:share, :isCounted, :operation) as count',
)

/** Notes a wrong secret. Returns whether it was one of those that may be tried in a minute. */
export async function countWrongSecret(database: Pick<Database, 'run'>, share: string): Promise<boolean> {
  const [row] = await database.run(COUNT_WRONG, { share })
  return row?.allowed === true
}

const COUNT_WRONG = new Statement<{ share: string }, { allowed: boolean }>(
  'select storage.count_wrong_secret(:share) as allowed',
)

export interface ShareQuery {
  /** Whose they are; null, with `recipient` null too, is anybody. */
  sharer: string | null
  recipient: string | null
  objectId: string | null
  /** Null is both. */
  active: boolean | null
  /** Null is the beginning. */
  after: { time: string; share: string } | null
  limit: number
}

/** Newest first. */
export async function listShares(
  database: Pick<Database, 'read'>,
  { sharer, recipient, objectId, active, after, limit }: ShareQuery,
): Promise<ShareRow[]> {
  const { time = 'infinity', share = '' } = after ?? {}
  const rows = await database.read(LIST, {
    sharer,
    recipient,
    objectId,
    active,
    time,
    share,
    limit,
  })
  return rows.map((row) => row.share)
}

const LIST = new Statement<
  {
    sharer: string | null
    recipient: string | null
    objectId: string | null
    active: boolean | null
    time: string
    share: string
    limit: number
  },
  { share: ShareRow }
>(
  'select * from storage.list_shares(:sharer, :recipient, :objectId::uuid, :active, :time::timestamptz, :share, :limit) as share',
)

/** Takes away those that ended 30 days ago, at most so many. Returns whether there may be more. */
export async function forgetShares(database: Pick<Database, 'run'>, most: number): Promise<boolean> {
  const [row] = await database.run(FORGET, { most })
  return row?.more === true
}

const FORGET = new Statement<{ most: number }, { more: boolean }>(
  'select storage.forget_shares(:most) as more',
)
