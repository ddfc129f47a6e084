import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The migrations that this build knows, in `drizzle/`. */
export const FOLDER = fileURLToPath(new URL('../../../drizzle', import.meta.url))

interface Journal {
  entries: { tag: string; when: number }[]
}

/**
 * What the tables of a database are like: the name of the last migration that was made there, such as `0036_sweeps`.
 *
 * @param createdAt of that migration, by `storage.strongroom_migrations`
 * @returns undefined for a migration that only a newer build knows
 */
export function schemaVersion(createdAt: number, folder = FOLDER): string | undefined {
  return readJournal(folder).find(({ when }) => when === createdAt)?.tag
}

/** The opposite. Undefined for a name that only a newer build knows. */
export function migrationOf(version: string, folder = FOLDER): number | undefined {
  return readJournal(folder).find(({ tag }) => tag === version)?.when
}

/** What the tables are like once this build has migrated them. */
export function newestSchema(folder = FOLDER): string {
  return readJournal(folder).at(-1)?.tag ?? ''
}

function readJournal(folder: string): Journal['entries'] {
  const journal: Journal = JSON.parse(readFileSync(join(folder, 'meta/_journal.json'), 'utf8'))
  return journal.entries
}
