import { join, resolve } from 'node:path'
import type { Logger } from 'pino'
import type { Config } from '../config/config.ts'
import type { Database } from '../database/connection/client.ts'
import { writeAudit } from '../database/queries/audit.ts'
import { AuditLog } from '../http/middleware/audit-log.ts'
import type { OnRequestEnd } from '../http/request-end.ts'
import { AuditFiles } from '../telemetry/audit-files.ts'
import { AuditQueue } from '../telemetry/audit-queue.ts'

/** The audit log of a process that answers requests. */
export interface OpenAuditLog {
  onRequestEnd: OnRequestEnd
  /** Stores what waits. Once no request is under way any more. */
  close(): Promise<void>
}

/** Opens it as the settings say; null where it is off. */
export function openAuditLog({
  config,
  database,
  logger,
}: {
  config: Config
  database: Database
  logger: Logger
}): OpenAuditLog | null {
  const { level } = config.audit
  if (level === 'off') return null
  const queue = new AuditQueue({
    write: (entries) =>
      writeAudit(database, entries, (entry, error) =>
        logger.error({ err: error, entry: entry.id }, 'an entry of the audit log was not taken'),
      ),
    files: new AuditFiles(join(resolve(config.dataDir), 'audit')),
    logger,
  })
  const { trustProxy } = config
  const log = new AuditLog({ queue, withReads: level === 'all', trustProxy })
  queue.start()
  return { onRequestEnd: log.onRequestEnd, close: () => queue.close() }
}
