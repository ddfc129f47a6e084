import type { Command } from 'commander'
import pino, { type Logger } from 'pino'
import { openBackends } from '../backend/open.ts'
import { readConfig } from '../config/config.ts'
import { openDatabase } from '../database/connection/client.ts'
import type { BackupCounts } from '../database/queries/backup-jobs.ts'
import { Deeds } from '../jobs/backup/deeds.ts'
import {
  type FromBackupProcess,
  failureOf,
  type ToBackupProcess,
} from '../server/processes/backup-messages.ts'
import { InlineBackend } from '../storage/inline/inline-backend.ts'

/** What makes or restores a backup for `strongroom serve`, which starts it. */
export function registerBackupProcess(program: Command): void {
  program.command('backup-process', { hidden: true }).action(run)
}

/** A backup's own sessions are further ones. */
const CONNECTIONS = 4

/** Between two notes of how far it is, in milliseconds. */
const NOTE_MS = 500

type Order = Extract<ToBackupProcess, { type: 'do' }>

async function run(): Promise<void> {
  if (!process.send) throw new Error('strongroom backup-process is for strongroom serve, which starts it')
  // The server says when it is to end. Without that one, whoever is next finds what was left, as after its own death.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})
  process.once('disconnect', () => process.exit(1))
  const stopping = new AbortController()
  const ordered = new Promise<Order | null>((resolve) => {
    process.on('message', (message: ToBackupProcess) => {
      if (message.type === 'do') return resolve(message)
      stopping.abort()
      resolve(null)
    })
  })
  await say({ type: 'ready' })
  const order = await ordered
  if (order !== null) {
    await say(
      await work(order, stopping.signal).then(
        (counts): FromBackupProcess => ({ type: 'done', counts }),
        (error): FromBackupProcess => ({ type: 'failed', failure: failureOf(error) }),
      ),
    )
  }
  process.removeAllListeners('disconnect')
  process.disconnect()
}

async function work({ job, database: place, logLevel }: Order, signal: AbortSignal): Promise<BackupCounts> {
  const config = readConfig(process.env)
  const logger = loggerOfServer(logLevel)
  const database = openDatabase(place, { connections: CONNECTIONS })
  try {
    const backend = new InlineBackend(await openBackends(config), database)
    try {
      const deeds = new Deeds({ config, database, backend, logger })
      const notes = { job, signal, note: notesNowAndThen() }
      return await (job.kind === 'backup' ? deeds.backup(notes) : deeds.restore(notes))
    } finally {
      await backend.close()
    }
  } finally {
    await database.close()
  }
}

function notesNowAndThen(): (progress: number, counts: BackupCounts) => void {
  let nextAt = 0
  return (progress, counts) => {
    if (performance.now() < nextAt) return
    nextAt = performance.now() + NOTE_MS
    void say({ type: 'note', progress, counts })
  }
}

/** Its lines are the server's, which writes them among its own. */
function loggerOfServer(level: string): Logger {
  const formatters = { level: (word: string) => ({ level: word }) }
  return pino(
    { level, base: null, timestamp: false, formatters },
    { write: (line) => void say({ type: 'log', line }) },
  )
}

/** Resolves once it is on its way, or there is nobody to hear it. */
function say(message: FromBackupProcess): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => resolve())
    else resolve()
  })
}
