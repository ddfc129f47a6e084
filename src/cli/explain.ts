import { ConfigError } from '../config/config.ts'
import { DumpError } from '../database/dump/dump-error.ts'
import { EmbeddedPostgresError } from '../database/embedded/embedded-error.ts'
import { MigrationError } from '../database/migrations/migrate.ts'
import { BackupError } from '../jobs/backup/backup-error.ts'
import { StorageError } from '../model/errors.ts'
import { systemReason } from '../model/system-reason.ts'
import { KeysError } from '../server/keys.ts'
import { WorkerStartError } from '../server/processes/worker-start-error.ts'
import { explainListenError } from './listen-error.ts'
import { SqlError } from './sql/sql-error.ts'

/** Says what is wrong in a line each, and what to do; only a fault of ours comes with its stack. */
export function explain(error: unknown): string {
  if (error instanceof ConfigError)
    return error.problems.map((problem) => `strongroom: ${problem}`).join('\n')
  if (
    error instanceof EmbeddedPostgresError ||
    error instanceof MigrationError ||
    error instanceof DumpError ||
    error instanceof BackupError ||
    error instanceof KeysError ||
    error instanceof SqlError
  ) {
    return `strongroom: ${error.message}`
  }
  if (error instanceof WorkerStartError) return error.explanation
  if (error instanceof StorageError) return `strongroom: ${error.explanation}`
  const unheard = explainListenError(error)
  if (unheard !== undefined) return `strongroom: ${unheard}`
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') {
    const path = 'path' in error && typeof error.path === 'string' ? `${error.path}: ` : ''
    return `strongroom: ${path}${systemReason(error)}`
  }
  return `strongroom: ${error instanceof Error ? error.stack : String(error)}`
}
