import type { Database } from '../connection/client.ts'
import { Statement } from '../connection/statement.ts'

/** Signed URLs that were taken back: those of a key that were signed up to a moment. */
export interface Revocation {
  key: string
  /** In milliseconds since 1970. */
  moment: number
}

/** What was taken back, in the order of the commits. */
export interface RevocationPage {
  revocations: (Revocation & { position: number })[]
  /** Of all there are. */
  newest: number
}

/** What was taken back after a position; at most `most`. @throws DatabaseUnavailable */
export async function revocationsAfter(
  database: Pick<Database, 'read'>,
  known: number,
  most: number,
): Promise<RevocationPage> {
  const rows = await database.read(AFTER, { known, most })
  const revocations = rows.flatMap(({ position, key, moment }) =>
    position === null || key === null || moment === null ? [] : [{ position: Number(position), key, moment }],
  )
  return { revocations, newest: Number(rows[0]?.newest ?? 0) }
}

const AFTER = new Statement<
  { known: number; most: number },
  { newest: string | number; position: string | number | null; key: string | null; moment: number | null }
>('select * from storage.link_revocations_after(:known, :most)')

/** The last moment at which one of these was taken back, in milliseconds since 1970; null for none. */
export async function revokedAt(database: Pick<Database, 'read'>, keys: string[]): Promise<number | null> {
  const [row] = await database.read(REVOKED_AT, { keys })
  return row?.moment ?? null
}

const REVOKED_AT = new Statement<{ keys: string[] }, { moment: number | null }>(
  'select storage.link_revoked_at(:keys::text[]) as moment',
)

/**
 * Takes back what was signed up to a moment, and makes the event that tells of it.
 *
 * @param request.told its `data`
 * @param request.revoker null is the service, which may have any number of rows
 * @param request.most rows that he may have
 * @returns false when he has them
 */
export async function revokeLinks(
  database: Pick<Database, 'run'>,
  request: {
    keys: string[]
    moment: Date
    ends: Date
    told: Record<string, unknown>
    revoker: string | null
    most: number
  },
): Promise<boolean> {
  const { moment, ends, told, ...rest } = request
  const [row] = await database.run(REVOKE, {
    ...rest,
    moment: moment.toISOString(),
    ends: ends.toISOString(),
    told: JSON.stringify(told),
  })
  return row?.done === true
}

const REVOKE = new Statement<
  { keys: string[]; moment: string; ends: string; revoker: string | null; most: number; told: string },
  { done: boolean | null }
>(
  `select storage.revoke_links(
    :keys::text[], :moment::timestamptz, :ends::timestamptz, :revoker, :most, :told::jsonb) as done`,
)

/** Whose an object is, and its bucket. */
export interface Owners {
  bucketUid: string
  bucket: string | null
  /** Null, too, where there is no such object. */
  object: string | null
}

/** Past all policies; null when there is no such bucket. @throws DatabaseUnavailable */
export async function ownersOf(
  database: Pick<Database, 'read'>,
  bucket: string,
  object: string,
): Promise<Owners | null> {
  const [row] = await database.read(OWNERS, { bucket, object })
  return row ? { bucketUid: row.bucket_uid, bucket: row.bucket_owner, object: row.object_owner } : null
}

const OWNERS = new Statement<
  { bucket: string; object: string },
  { bucket_uid: string; bucket_owner: string | null; object_owner: string | null }
>('select * from storage.owners_of(:bucket, :object)')

/**
 * Counts a download, unless it goes on with one of that client that is counted already.
 *
 * @param use.ends when the link is over, and what is known of it may be forgotten
 * @returns whether it may be
 */
export async function countLinkDownload(
  database: Pick<Database, 'run'>,
  { ends, ...use }: { link: string; client: string; isRange: boolean; most: number; ends: Date },
): Promise<boolean> {
  const [row] = await database.run(COUNT, { ...use, ends: ends.toISOString() })
  return row?.allowed === true
}

const COUNT = new Statement<
  { link: string; client: string; isRange: boolean; most: number; ends: string },
  { allowed: boolean }
>('select storage.count_link_download(:link::uuid, :client, :isRange, :most, :ends::timestamptz) as allowed')

/** A download that was counted has broken off: its client may try again, for a minute. */
export async function linkDownloadBroke(
  database: Pick<Database, 'run'>,
  link: string,
  client: string,
): Promise<void> {
  await database.run(BROKE, { link, client })
}

const BROKE = new Statement<{ link: string; client: string }, object>(
  'select storage.link_download_broke(:link::uuid, :client)',
)

/** Forgets what is over. Returns whether there may be more. @param most at once */
export async function forgetLinks(database: Pick<Database, 'run'>, most: number): Promise<boolean> {
  const [row] = await database.run(FORGET, { most })
  return row?.more === true
}

const FORGET = new Statement<{ most: number }, { more: boolean }>(
  'select storage.forget_links(:most) as more',
)
