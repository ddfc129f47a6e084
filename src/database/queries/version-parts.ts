import { sql } from 'drizzle-orm'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { textArray } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { ask } from './drift.ts'

/** A part of a version, by which it is verified as long as nobody has hashed the whole. */
export interface VersionPart {
  /** In bytes. */
  size: number
  /** 64 lower-case hexadecimal digits. */
  sha256: string
}

/** The parts of which a version was made, in their order; null when it was not, or its whole has a hash. */
export async function findVersionParts(database: Database, version: string): Promise<VersionPart[] | null> {
  const [row] = await database.run(FIND, { version })
  return row?.parts ?? null
}

const FIND = new Statement<{ version: string }, { parts: VersionPart[] | null }>(
  'select storage.find_version_parts(:version) as parts',
)

/** The same of many versions, of which those are left out that have none. @throws DatabaseUnavailable */
export function findPartsOf(
  database: Database,
  versions: string[],
): Promise<{ version: string; parts: VersionPart[] }[]> {
  return ask(
    database,
    sql`select version::text as version, parts from storage.version_parts where version = any (${textArray(versions)}::uuid[])`,
  )
}

/** A copy has the same bytes, in the transaction that makes its row. */
export async function copyVersionParts(tx: Transaction, source: string, target: string): Promise<void> {
  await tx.run(COPY, { source, target })
}

const COPY = new Statement<{ source: string; target: string }, object>(
  'select storage.copy_version_parts(:source, :target)',
)

/** Notes the SHA-256 of a version that has none yet; its parts are not needed any more. */
export async function noteChecksum(
  database: Database,
  object: { id: string; version: string },
  sha256: string,
): Promise<void> {
  await database.run(NOTE, { ...object, sha256 })
}

const NOTE = new Statement<{ id: string; version: string; sha256: string }, object>(
  'select storage.note_checksum(:id, :version, :sha256)',
)
