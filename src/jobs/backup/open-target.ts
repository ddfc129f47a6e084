import { realpathSync } from 'node:fs'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { text } from 'node:stream/consumers'
import { z } from 'zod'
import { objectsFolder } from '../../backend/local/folders.ts'
import type { Config } from '../../config/config.ts'
import { keyPrefix } from '../../config/fields.ts'
import { UUID } from '../../lib/uuid.ts'
import { BackupError } from './backup-error.ts'
import { FolderTarget } from './folder-target.ts'
import { jsonAs } from './json-as.ts'
import { FORMAT } from './manifest.ts'
import type { BackupTarget, TargetPlace } from './target.ts'
import type { BackupKeys } from './target-keys.ts'

export interface OpenOptions {
  /** What decrypts backups that are encrypted for a recipient, as `AGE-SECRET-KEY-1…`. */
  identity?: string | undefined
  /** A file that has it; that of the settings when left out. */
  identityFile?: string | undefined
  /** Whether a backup is to be written: a target that is empty is made one, and the keys must be those of the target. */
  forWriting?: boolean
}

type Surroundings = Pick<Config, 'backup' | 'dataDir' | 'fsync' | 's3' | 's3Access'>

/** The file by which a place is known as a target. */
const MARKER = 'strongroom-backups.json'

const markerSchema = z.object({
  format: z.number(),
  /** For whom all in it is encrypted; absent when it is not. */
  recipient: z.string().optional(),
  /** What decrypts it, encrypted with a passphrase, as text (age's armor). */
  identity: z.string().optional(),
})

type Marker = z.infer<typeof markerSchema>

/**
 * @param name a folder, or `s3://bucket/prefix` in the store of the STORAGE_S3_… settings
 * @throws UnusableTarget, NewerFormat, WrongKey, TargetUnavailable, StorageFull
 */
export async function openTarget(
  name: string,
  config: Surroundings,
  { identity: given, identityFile = config.backup.identity, forWriting = false }: OpenOptions = {},
): Promise<BackupTarget> {
  const { passphrase, recipient: ours } = config.backup
  const keys: BackupKeys = { passphrase, recipient: ours, identity: given, identityFile }
  const place = await openPlace(name, config)
  try {
    const marker = (await readMarker(place)) ?? (await makeMarker(place, forWriting ? keys : undefined))
    if (forWriting) checkKeys(name, marker, keys)
    const { recipient, identity } = marker
    if (recipient === undefined) return place
    // Loaded when it is used: most have no need of it.
    const { EncryptedTarget } = await import('./encrypted-target.ts')
    const { unlock } = await import('./target-keys.ts')
    const find = () => unlock(name, { recipient, identity }, keys)
    // A passphrase that is not the target's is noticed before the backup is needed.
    if (forWriting && keys.passphrase !== undefined) await find()
    return new EncryptedTarget({ place, recipient, identity: find })
  } catch (error) {
    await place.close()
    throw error
  }
}

async function openPlace(name: string, config: Surroundings): Promise<TargetPlace> {
  if (/^s3:/i.test(name)) return openStore(name, config)
  if (name === '' || /^[a-z][a-z\d+.-]*:\/\//i.test(name)) {
    throw unusable(`${JSON.stringify(name)} is no target: give a folder, or s3://bucket/prefix`)
  }
  const root = resolve(name)
  refuseDataFolders(name, root, config.dataDir)
  return new FolderTarget({ root, name, fsync: config.fsync })
}

async function openStore(name: string, { s3, s3Access, dataDir }: Surroundings): Promise<TargetPlace> {
  const [, bucket, path = ''] = /^s3:\/\/([a-z\d][\w.-]{1,61}[a-z\d])(?:\/(.*))?$/i.exec(name) ?? []
  const prefix = keyPrefix.safeParse(path).data
  const isRelative = path.split('/').some((step) => step === '.' || step === '..')
  if (bucket === undefined || prefix === undefined || isRelative) {
    throw unusable(`${JSON.stringify(name)} is no target: give it as s3://bucket/prefix, without spaces`)
  }
  if (s3?.bucket === bucket && isAmongObjects(prefix, s3.prefix)) {
    throw unusable(
      `${name} is where the objects are (STORAGE_S3_PREFIX): give backups another prefix or bucket`,
    )
  }
  // Loaded when it is used, as with the backend.
  const { S3Target } = await import('./s3-target.ts')
  const settings = { ...s3Access, bucket, prefix }
  return new S3Target({ name, settings, spoolDir: join(resolve(dataDir), 'spool') })
}

/** Whether keys with this prefix could be taken for objects', or objects' for them. */
function isAmongObjects(prefix: string, objects: string): boolean {
  if (objects.startsWith(prefix)) return true
  const [first = ''] = prefix.startsWith(objects) ? prefix.slice(objects.length).split('/') : []
  return UUID.test(first) || first === 'tails'
}

/** Null when there is none, as nothing is there. */
async function readMarker(place: TargetPlace): Promise<Marker | null> {
  const { name } = place
  if ((await place.exists(MARKER)) === null) {
    if (await place.isEmpty()) return null
    throw unusable(
      `${name} has other files than backups in it: give an empty folder, or one that is not there yet`,
    )
  }
  const marker = jsonAs(await text(await place.read(MARKER)), markerSchema)
  if (!marker) throw new BackupError('DamagedBackup', `${MARKER} in ${name} is damaged`)
  if (marker.format <= FORMAT) return marker
  throw new BackupError(
    'NewerFormat',
    `The backups in ${name} have format ${marker.format}, and this version of Strongroom knows formats up to ` +
      `${FORMAT}: use the version that made them, or a later one`,
  )
}

/** @param keys those of a target that is to be made */
async function makeMarker(place: TargetPlace, keys: BackupKeys | undefined): Promise<Marker> {
  if (!keys) throw unusable(`There are no backups in ${place.name}`)
  const isEncrypted = keys.passphrase !== undefined || keys.recipient !== undefined
  const ofKeys = isEncrypted ? await (await import('./target-keys.ts')).newTargetKeys(keys) : {}
  const marker: Marker = { format: FORMAT, ...ofKeys }
  await place.write(MARKER, Buffer.from(`${JSON.stringify(marker, null, 2)}\n`))
  return marker
}

/** A target is encrypted as a whole and for one key: a part of it that is not would be missed too late. */
function checkKeys(name: string, marker: Marker, { passphrase, recipient }: BackupKeys): void {
  if (marker.recipient === undefined) {
    if (passphrase === undefined && recipient === undefined) return
    throw unusable(`The backups in ${name} are not encrypted: give encrypted ones another folder`)
  }
  const isOfPassphrase = marker.identity !== undefined
  const isOthers = isOfPassphrase ? recipient !== undefined : passphrase !== undefined
  if (isOthers || (recipient !== undefined && recipient !== marker.recipient)) {
    const by = isOfPassphrase ? 'with a passphrase' : `for ${marker.recipient}`
    throw new BackupError(
      'WrongKey',
      `The backups in ${name} are encrypted ${by}: give others another folder`,
    )
  }
}

/** Bytes of objects and the database are removed and replaced there, without regard to what else is there. */
function refuseDataFolders(name: string, root: string, dataDir: string): void {
  const target = realPath(root)
  const data = realPath(resolve(dataDir))
  const folders = [objectsFolder(data), join(data, 'postgres'), join(data, 'spool')]
  const isInside = folders.some((folder) => target === folder || target.startsWith(`${folder}${sep}`))
  if (isInside || target === data) {
    throw unusable(
      `${name} belongs to the server's own files (STORAGE_DATA_DIR): give backups another folder`,
    )
  }
}

/** Without links, as far as it is there. */
function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    const above = dirname(path)
    return above === path ? path : join(realPath(above), basename(path))
  }
}

function unusable(sentence: string): BackupError {
  return new BackupError('UnusableTarget', sentence)
}
