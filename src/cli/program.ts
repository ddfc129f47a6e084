import { existsSync } from 'node:fs'
import { Command } from 'commander'
import { packageVersion } from '../lib/package-version.ts'
import { registerCheck } from './check.ts'
import { registerCleanup } from './cleanup.ts'
import { registerCredentials } from './credentials.ts'
import { explain } from './explain.ts'
import { registerKeys } from './keys.ts'
import { registerMigrate } from './migrate.ts'
import { registerMigrateBackend } from './migrate-backend.ts'
import { registerScrub } from './scrub.ts'
import { registerServe } from './serve.ts'
import { registerSql } from './sql.ts'
import { registerWhere } from './where.ts'
import { registerWorker } from './worker.ts'

/** In the order in which the help lists them. */
const COMMANDS = [
  registerServe,
  registerWorker,
  registerCheck,
  registerMigrate,
  registerKeys,
  registerCredentials,
  registerSql,
  registerCleanup,
  registerScrub,
  registerWhere,
  registerMigrateBackend,
]

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
Settings come from the environment or a .env file in the current folder; all are optional:
  STORAGE_PORT        where to listen (8209)
  STORAGE_DATA_DIR    where files, the embedded database and keys are kept (./storage-data)
  DATABASE_URL        use this PostgreSQL 15 or newer instead of the embedded one
docs/settings.md lists the rest.

Start here:
  strongroom serve    and paste the curl line that it prints`,
  )

program.hook('preAction', (_program, command) => {
  // A worker has the environment of its server, of which no other file must make something else.
  if (command.name() !== 'worker' && existsSync('.env')) process.loadEnvFile('.env')
})

for (const register of COMMANDS) register(program)

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
  process.stderr.write(`${explain(error)}\n`)
  process.exitCode = 1
}
