import { createWriteStream } from 'node:fs'
import { resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Command, InvalidArgumentError } from 'commander'
import { readConfig } from '../config/config.ts'
import type { Database } from '../database/connection/client.ts'
import { connectBeside } from '../database/opening/connect.ts'
import { type AuditFilter, exportAudit } from '../database/queries/audit.ts'
import { createLogger } from '../server/log.ts'
import { isClosed } from './closed-pipe.ts'
import { interruption } from './interruption.ts'

/** Read at once, so that no export holds more in memory, or the database for long. */
const PAGE = 1000

export function registerAudit(program: Command): void {
  const audit = program.command('audit').description('take the audit log elsewhere')
  audit
    .command('export')
    .description('print entries as JSON, one on a line, the oldest first')
    .option(
      '--from <time>',
      'those of this moment and later, such as 2026-11-28 or 2026-11-28T10:15:00Z',
      time,
    )
    .option('--to <time>', 'those before this moment', time)
    .option('--bucket <id>', 'those of one bucket')
    .option('--user <id>', "those of one user, by a token's sub claim")
    .option('--action <action>', 'those of one action, such as delete')
    .option('--out <file>', 'into a new file, in place of stdout')
    .addHelpText('after', '\nBeside a running server or without one. docs/audit.md says what an entry has.')
    .action(exportEntries)
}

interface ExportOptions {
  from?: Date
  to?: Date
  bucket?: string
  user?: string
  action?: string
  out?: string
}

async function exportEntries({ user, out, ...filter }: ExportOptions): Promise<void> {
  const config = readConfig(process.env)
  const interrupted = interruption()
  const database = await connectBeside({
    databaseUrl: config.databaseUrl,
    databaseDirectUrl: config.databaseDirectUrl,
    dataDir: resolve(config.dataDir),
    connections: 1,
    logger: createLogger('error', { stream: process.stderr }),
    onLost: () => interrupted.abort(),
  })
  try {
    const lines = Readable.from(linesOf(database, { ...filter, userId: user }))
    const into = out === undefined ? process.stdout : createWriteStream(out, { flags: 'wx', mode: 0o600 })
    await pipeline(lines, into, { end: out !== undefined, signal: interrupted.signal })
  } catch (error) {
    if (isClosed(error)) return
    if (!interrupted.signal.aborted) throw error
    process.exitCode = 1
  } finally {
    await database.close()
  }
}

async function* linesOf(database: Database, filter: AuditFilter): AsyncIterable<string> {
  let after: { at: Date; id: string } | undefined
  do {
    const rows = await exportAudit(database, filter, { limit: PAGE, after })
    yield rows.map((row) => `${JSON.stringify(row)}\n`).join('')
    const last = rows.at(-1)
    after = last && rows.length === PAGE ? { at: new Date(last.at), id: last.id } : undefined
  } while (after)
}

function time(text: string): Date {
  const at = new Date(text)
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(at.getTime())) {
    throw new InvalidArgumentError('It must be a time such as 2026-11-28T10:15:00Z.')
  }
  return at
}
