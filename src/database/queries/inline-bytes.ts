import { StorageError } from '../../model/errors.ts'
import type { ByteRange } from '../../model/location.ts'
import type { Database } from '../connection/client.ts'
import { dateOr1970 } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'

/**
 * Small bytes in the database (decision 0052, drizzle/functions/inline-bytes.sql), by their version. An object is written
 * and read with its bytes by `putObject` and `findObject`; these are for all else.
 */

/** Keeps bytes. That a row names them is the caller's affair. */
export async function writeInlineBytes(
  connection: Pick<Database, 'run'>,
  version: string,
  bytes: Uint8Array,
): Promise<void> {
  await connection.run(WRITE, { version, bytes })
}

const WRITE = new Statement<{ version: string; bytes: Uint8Array }, object>(
  'select storage.write_inline_bytes(:version, :bytes)',
)

/** The bytes, or those of them in the range, and the length of the whole; null when there are none. */
export async function readInlineBytes(
  database: Database,
  version: string,
  range?: ByteRange,
): Promise<{ size: number; bytes: Uint8Array<ArrayBuffer> } | null> {
  const first = range?.start ?? 0
  const most = range ? range.end - range.start + 1 : null
  const [row] = await database.read(READ, { version, first, most })
  return row ?? null
}

const READ = new Statement<
  { version: string; first: number; most: number | null },
  { size: number; bytes: Uint8Array<ArrayBuffer> }
>('select * from storage.read_inline_bytes(:version, :first, :most)')

/** In bytes; null when there are none. */
export async function inlineSize(database: Database, version: string): Promise<number | null> {
  const [row] = await database.read(SIZE, { version })
  return row?.size ?? null
}

const SIZE = new Statement<{ version: string }, { size: number | null }>(
  'select storage.inline_size(:version) as size',
)

/** Gives another version the same bytes. @throws MissingBytes when there are none */
export async function copyInlineBytes(
  connection: Pick<Database, 'run'>,
  source: string,
  target: string,
): Promise<void> {
  const [row] = await connection.run(COPY, { source, target })
  if (!row?.copied) throw new StorageError('MissingBytes')
}

const COPY = new Statement<{ source: string; target: string }, { copied: boolean }>(
  'select storage.copy_inline_bytes(:source, :target) as copied',
)

/** Removing none is a success. */
export async function removeInlineBytes(database: Database, version: string): Promise<void> {
  await database.run(REMOVE, { version })
}

const REMOVE = new Statement<{ version: string }, object>('select storage.remove_inline_bytes(:version)')

export interface InlineVersion {
  version: string
  /** In bytes. */
  size: number
  createdAt: Date
}

/** Up to `limit` of all, by version, from after the given one. */
export async function listInlineBytes(
  database: Database,
  after: string | null,
  limit: number,
): Promise<InlineVersion[]> {
  const rows = await database.run(LIST, { after, limit })
  return rows.map((row) => ({
    version: row.version,
    size: row.size,
    createdAt: dateOr1970(row.created_at),
  }))
}

const LIST = new Statement<
  { after: string | null; limit: number },
  { version: string; size: number; created_at: string }
>('select * from storage.list_inline_bytes(:after, :limit)')
