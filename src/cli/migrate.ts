import type { Command } from 'commander'
import { readConfig } from '../config/config.ts'
import { migrate } from '../database/migrations/migrate.ts'
import { findPlace } from '../database/opening/find-place.ts'
import { createLogger } from '../server/log.ts'

export function registerMigrate(program: Command): void {
  program
    .command('migrate')
    .description('prepare the database of DATABASE_URL, with a login that may create roles')
    .action(migrateDatabase)
}

/** Brings the database of DATABASE_URL up to date. The embedded one needs no command: it is migrated at start. */
async function migrateDatabase(): Promise<void> {
  const config = readConfig(process.env)
  if (config.databaseUrl === undefined) {
    process.stdout.write(
      'Without DATABASE_URL the embedded database is migrated by `strongroom serve` itself.\n',
    )
    return
  }
  const { sessions } = await findPlace(config.databaseUrl, config.databaseDirectUrl)
  const functions: string[] = []
  const count = await migrate(sessions, createLogger('warn'), {
    onFunctions: (names) => functions.push(...names),
  })
  if (count > 0) process.stdout.write(`Applied ${count} migrations.\n`)
  else if (functions.length > 0) process.stdout.write(`Ran the functions of ${functions.join(', ')}.\n`)
  else process.stdout.write('The database is up to date.\n')
}
