import { isIPv6 } from 'node:net'
import { WorkerStartError } from '../cluster/worker-start-error.ts'
import { ConfigError } from '../config.ts'
import { EmbeddedPostgresError } from '../database/embedded/embedded-error.ts'
import { MigrationError } from '../database/migrate.ts'
import { StorageError } from '../errors.ts'
import { KeysError } from '../keys.ts'
import { SqlError } from './sql/sql-error.ts'

/** Says what is wrong in a line each, and what to do; only a fault of ours comes with its stack. */
export function explain(error: unknown): string {
  if (error instanceof ConfigError)
    return error.problems.map((problem) => `strongroom: ${problem}`).join('\n')
  if (
    error instanceof EmbeddedPostgresError ||
    error instanceof MigrationError ||
    error instanceof KeysError ||
    error instanceof SqlError
  ) {
    return `strongroom: ${error.message}`
  }
  if (error instanceof WorkerStartError) return error.explanation
  if (error instanceof StorageError) return `strongroom: ${error.explanation}`
  if (isAddressInUse(error)) {
    const place = `${isIPv6(error.address) ? `[${error.address}]` : error.address}:${error.port}`
    return `strongroom: something listens already on ${place}. Stop the other server, or set STORAGE_PORT to another port.`
  }
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') {
    return `strongroom: ${error.message}`
  }
  return `strongroom: ${error instanceof Error ? error.stack : String(error)}`
}

function isAddressInUse(error: unknown): error is Error & { address: string; port: number } {
  return error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
}
