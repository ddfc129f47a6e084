import { existsSync } from 'node:fs'
import { Command } from 'commander'
import { shareIn } from '../config/backup-share.ts'
import { giveWay } from '../lib/low-priority.ts'
import { packageVersion } from '../lib/package-version.ts'
import { settingsAhead } from './settings-ahead.ts'

type Registers = (program: Command) => void

/**
 * In the order in which the help lists them. What a command needs is loaded with it: the help needs them all, and who
 * asks for one does not wait for the others.
 */
const COMMANDS = new Map<string, () => Promise<Registers>>([
  ['serve', async () => (await import('./serve.ts')).registerServe],
  ['worker', async () => (await import('./worker.ts')).registerWorker],
  ['check', async () => (await import('./check.ts')).registerCheck],
  ['migrate', async () => (await import('./migrate.ts')).registerMigrate],
  ['keys', async () => (await import('./keys.ts')).registerKeys],
  ['credentials', async () => (await import('./credentials.ts')).registerCredentials],
  ['share', async () => (await import('./share.ts')).registerShare],
  ['audit', async () => (await import('./audit.ts')).registerAudit],
  ['lock', async () => (await import('./lock.ts')).registerLock],
  ['sql', async () => (await import('./sql.ts')).registerSql],
  ['cleanup', async () => (await import('./cleanup.ts')).registerCleanup],
  ['scrub', async () => (await import('./scrub.ts')).registerScrub],
  ['backup', async () => (await import('./backup.ts')).registerBackup],
  ['backup-process', async () => (await import('./backup-process.ts')).registerBackupProcess],
  ['restore', async () => (await import('./restore.ts')).registerRestore],
  ['where', async () => (await import('./where.ts')).registerWhere],
  ['inline', async () => (await import('./inline.ts')).registerInline],
  ['rollback', async () => (await import('./rollback.ts')).registerRollback],
  ['move-database', async () => (await import('./move-database.ts')).registerMoveDatabase],
  ['migrate-backend', async () => (await import('./migrate-backend.ts')).registerMigrateBackend],
])

const program = new Command('strongroom')
  .description('A self-hosted, Supabase-style storage server.')
  .version(packageVersion())
  .configureOutput({
    outputError: (text, write) => {
      const sentence = text
        .replace(/^error: /, '')
        .trim()
        .replaceAll('\n', ' ')
      write(`strongroom: ${sentence} (see strongroom --help)\n`)
    },
  })
  .addHelpText(
    'after',
    `
Settings come from the environment, or a file (--env, else .env in this folder); all are optional:
  STORAGE_PORT        where to listen (8209)
  STORAGE_DATA_DIR    where files, the embedded database and keys are kept (./storage-data)
  DATABASE_URL        use this PostgreSQL 15 or newer instead of the embedded one
docs/settings.md lists the rest.

Start here:
  strongroom serve    and paste the curl line that it prints`,
  )

program.hook('preAction', async (_program, command) => {
  // These have the environment of their server, of which no other file must make something else.
  if (command.name() === 'worker' || command.name() === 'backup-process') return
  const { env: file } = command.opts<{ env?: string }>()
  if (file === undefined) {
    if (existsSync('.env')) process.loadEnvFile('.env')
    return
  }
  const { loadSettings } = await import('./env-file.ts')
  loadSettings(file)
})

const [command = '', below] = process.argv.slice(2)
// Before what it needs is loaded, too, which is as much work as a small backup.
if (command === 'backup-process') giveWay(shareIn(process.env))
if (command === 'backup' && below === 'create') giveWay(shareIn(settingsAhead(process.argv.slice(2))))

const asked = COMMANDS.get(command)
for (const load of asked ? [asked] : COMMANDS.values()) (await load())(program)
for (const command of program.commands) readsSettings(command)

function readsSettings(command: Command): void {
  if (command.commands.length === 0)
    command.option('--env <file>', 'read settings from this file instead of .env')
  for (const below of command.commands) readsSettings(below)
}

// Whoever read this has gone, as `head` does: nobody is told any more, and the work comes to its end in order, so that
// a database that was started for it is stopped.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
}

try {
  await program.parseAsync()
} catch (error) {
  const { explain } = await import('./explain.ts')
  process.stderr.write(`${explain(error)}\n`)
  process.exitCode = 1
}
