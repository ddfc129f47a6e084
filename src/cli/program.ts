import { existsSync } from 'node:fs'
import { Command, InvalidArgumentError, Option } from 'commander'
import { BACKENDS } from '../config/config.ts'
import { packageVersion } from '../lib/package-version.ts'
import { parseByteSize, parseDuration } from '../lib/units.ts'
import { checkCommand } from './check.ts'
import { cleanupCommand } from './cleanup.ts'
import { explain } from './explain.ts'
import { keysCommand } from './keys.ts'
import { migrateCommand } from './migrate.ts'
import { migrateBackendCommand } from './migrate-backend.ts'
import { scrubCommand } from './scrub.ts'
import { serve } from './serve.ts'
import { sqlCommand } from './sql.ts'
import { whereCommand } from './where.ts'
import { workerCommand } from './worker.ts'

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

program.command('serve').description('start the server; stop it with Ctrl-C').action(serve)

// One of its processes, with STORAGE_WORKERS.
program.command('worker', { hidden: true }).action(workerCommand)

program
  .command('check')
  .description('tell whether database, files and store can be reached and written, and what is wrong')
  .addHelpText(
    'after',
    `
Changes nothing, and may run beside a server. The exit code is 1 if anything has failed.`,
  )
  .action(checkCommand)

program
  .command('migrate')
  .description('prepare the database of DATABASE_URL, with a login that may create roles')
  .action(migrateCommand)

program
  .command('keys')
  .description('print the anon and service keys as JSON, or mint a token')
  .option('--role <role>', 'mint a token of this role: anon, authenticated or service_role')
  .option('--subject <id>', "the token's sub claim: the user's id")
  .option(
    '--expires-in <duration>',
    'until the token expires, such as 15m, 12h or 30d (default: never)',
    seconds,
  )
  .option('--secrets', 'print the secrets that sign tokens and URLs too')
  .action(keysCommand)

program
  .command('sql')
  .description("run SQL in the server's database, such as your policies; without a file, what comes on stdin")
  .argument('[file]', 'a script')
  .option('-c, --command <sql>', 'this SQL in place of a file')
  .option('--json', 'print rows as JSON, one on a line')
  .option('--no-transaction', 'keep what was done before an error: each statement by itself')
  .addHelpText(
    'after',
    `
As the superuser of the embedded database, beside a running server or without one; with DATABASE_URL, as the login that it
names. All statements are one transaction, unless the script begins its own. The exit code is 1 if one has failed.`,
  )
  .action(sqlCommand)

program
  .command('cleanup')
  .description('repair drift between files and their rows, as a running server does by itself every hour')
  .option('--dry-run', 'only tell what it would do')
  .option('--bucket <id>', 'only this bucket')
  .addHelpText(
    'after',
    `
Uploads that nobody finishes, bytes that nothing names, and rows whose bytes are gone, if they were left alone for
STORAGE_CLEANUP_GRACE (5m). May run beside servers. One pass makes at most STORAGE_CLEANUP_BATCH (1000) repairs.`,
  )
  .action(cleanupCommand)

program
  .command('scrub')
  .description('read every object and compare its SHA-256, to find what the disk has damaged')
  .option('--bucket <id>', 'only this bucket')
  .option('--rate <size>', 'read at most so much per second, such as 100MB', byteSize, 100_000_000)
  .option('--restart', 'begin anew, not where an interrupted scrub has stopped')
  .addHelpText(
    'after',
    `
Damaged objects are marked, listed at the end, and not served any more. Ctrl-C interrupts; the next scrub goes on
there. The exit code is 1 if anything is damaged or missing.`,
  )
  .action(scrubCommand)

program
  .command('where')
  .description('list all places on this machine that it uses, with their sizes')
  .addHelpText(
    'after',
    `
Changes nothing. What it has put beside the data folder, when root has started it, is not removed with that.`,
  )
  .action(whereCommand)

program
  .command('migrate-backend')
  .description('copy the bytes of all objects to another backend, while servers run')
  .addOption(backendOption('--from <backend>', 'where the bytes are'))
  .addOption(backendOption('--to <backend>', 'where they go'))
  .option('--parallel <n>', 'how many objects are copied at once', count, 8)
  .addHelpText(
    'after',
    `
Copies what is not there yet, compares each object's SHA-256, and deletes nothing. Ctrl-C interrupts; the next run goes
on there. The exit code is 0 once everything is in the other backend. docs/s3-store.md tells how to switch over without
a gap.`,
  )
  .action(migrateBackendCommand)

function backendOption(flags: string, description: string): Option {
  return new Option(flags, description).choices(BACKENDS).makeOptionMandatory()
}

function count(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new InvalidArgumentError('Use a whole number from 1 to 999.')
  return Number(text)
}

function byteSize(text: string): number {
  const bytes = parseByteSize(text)
  if (bytes === null || bytes <= 0) throw new InvalidArgumentError('Use a size such as 100MB.')
  return bytes
}

function seconds(text: string): number {
  const ms = parseDuration(text)
  if (ms === null || ms % 1000 !== 0)
    throw new InvalidArgumentError('Use a duration such as 15m, 12h or 30d.')
  return ms / 1000
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
  process.stderr.write(`${explain(error)}\n`)
  process.exitCode = 1
}
