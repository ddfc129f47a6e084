import { text } from 'node:stream/consumers'
import { z } from 'zod'
import { ALL_FORMER } from '../../database/queries/former.ts'
import { UUID } from '../../lib/uuid.ts'
import { BackupError, hasFault } from './backup-error.ts'
import { withChecksum } from './checksummed.ts'
import type { BackupTarget } from './target.ts'

/** The format that this version writes, and the newest that it reads. */
export const FORMAT = 1

const uuid = z.string().regex(UUID)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const count = z.number().int().nonnegative()
const time = z.iso.datetime({ offset: true })
/** A place in the write-ahead log, as PostgreSQL writes it. */
const lsn = z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/)

const manifestSchema = z.object({
  format: z.literal(FORMAT),
  id: uuid,
  type: z.enum(['full', 'incremental']),
  /** The backup that it was made upon; null of a full one. */
  parent: uuid.nullable(),
  created_at: time,
  /** What it shows: the moment of its snapshot. */
  moment: time,
  /** Of Strongroom. */
  server_version: z.string(),
  /** The last migration of the database. */
  schema: z.string(),
  functions_revision: count,
  database: z.object({
    kind: z.enum(['embedded', 'own']),
    /** Its version, such as `18.4`. */
    postgres: z.string(),
    // Of a physical copy.
    system_identifier: z.string().optional(),
    start_lsn: lsn.optional(),
    end_lsn: lsn.optional(),
    restore_point: z.string().optional(),
  }),
  /** Ids of the buckets that are in it; null for all. */
  buckets: z.array(z.string()).nullable(),
  /** What of the past is in it; one of before that was said has all there was. */
  former: z.object({ versions: z.boolean(), trash: z.boolean() }).default(ALL_FORMER),
  /** Whether the secrets of the server are in it. */
  with_keys: z.boolean(),
  totals: z.object({
    objects: count,
    /** Of all versions together, those of parents too. */
    bytes: count,
    /** Files in files.ndjson. */
    files: count,
    /** What this backup has itself of the bytes of versions. */
    new_bytes: count,
  }),
  /** Versions whose bytes were missing or differed from their checksum when it was made: they are not in it. */
  damaged: count.default(0),
  /** What the operator said of it. */
  description: z.string().optional(),
  /** Of files.ndjson and bytes.ndjson. */
  sha256: z.object({ files: sha256, bytes: sha256 }),
})

/**
 * What is said of a whole backup. A backup without one is not there: it is written last. In the file its own `checksum` follows.
 */
export type Manifest = z.infer<typeof manifestSchema>

/** Far more than a bucket's name for each of ten thousand buckets, in bytes. */
const MAX_BYTES = 4 * 1024 * 1024

export function manifestPath(id: string): string {
  return `${id}/manifest.json`
}

/**
 * @param id of the backup, as somebody has said it
 * @throws NoSuchBackup, NewerFormat, DamagedBackup, TargetUnavailable
 */
export async function readManifest(target: BackupTarget, id: string): Promise<Manifest> {
  if (!UUID.test(id)) throw noSuchBackup(target, id)
  const path = manifestPath(id)
  const about = `The manifest of backup ${id} in ${target.name}`
  let json: string
  let written: unknown
  try {
    const size = await target.exists(path)
    if (size === null) throw noSuchBackup(target, id)
    if (size > MAX_BYTES) throw new BackupError('DamagedBackup', `${about} is too large to be one`)
    json = await text(await target.read(path))
    written = JSON.parse(json)
  } catch (error) {
    if (hasFault(error, 'MissingBackupFile')) throw noSuchBackup(target, id)
    if (!(error instanceof SyntaxError)) throw error
    throw new BackupError('DamagedBackup', `${about} is not JSON`, { cause: error })
  }
  const format = z.object({ format: z.number() }).safeParse(written).data?.format
  if (format !== undefined && format > FORMAT) {
    throw new BackupError(
      'NewerFormat',
      `Backup ${id} in ${target.name} has format ${format}, and this version of Strongroom knows formats up to ` +
        `${FORMAT}: use the version that made it, or a later one`,
    )
  }
  const { data, error } = manifestSchema.safeParse(written)
  const issue = error?.issues[0]
  if (data?.id === id && json === withChecksum(written as object)) return data
  const reason = issue ? `${issue.path.join('.')}: ${issue.message}` : 'it is not as it was written'
  throw new BackupError('DamagedBackup', `${about} is damaged (${reason})`)
}

/** Makes the backup be there: all else is in the target by now. @throws StorageFull, TargetUnavailable */
export async function writeManifest(target: BackupTarget, manifest: Manifest): Promise<void> {
  const checked = manifestSchema.parse(manifest) // what could not be read again must not be written
  await target.flush?.()
  await target.write(manifestPath(manifest.id), Buffer.from(withChecksum(checked)))
}

function noSuchBackup(target: BackupTarget, id: string): BackupError {
  return new BackupError('NoSuchBackup', `There is no backup ${JSON.stringify(id)} in ${target.name}`)
}
