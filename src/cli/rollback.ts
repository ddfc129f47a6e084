import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { ConfigError, readConfig } from '../config/config.ts'
import { rollBack } from '../database/opening/upgrade.ts'
import { createLogger } from '../server/log.ts'

export function registerRollback(program: Command): void {
  program
    .command('rollback')
    .description('bring the built-in database back from before an upgrade, if nobody has written since')
    .addHelpText(
      'after',
      `
Stop the server first. Afterwards start the version from before: this one would upgrade it again. docs/upgrade.md tells
what is kept, and for how long.`,
    )
    .action(rollback)
}

async function rollback(): Promise<void> {
  const { databaseUrl, dataDir } = readConfig(process.env)
  if (databaseUrl !== undefined) {
    throw new ConfigError([
      'the database of DATABASE_URL goes back by a backup of your own from before the upgrade',
    ])
  }
  const clusterDir = join(resolve(dataDir), 'postgres')
  if (!existsSync(clusterDir)) throw new ConfigError([`there is no database in ${clusterDir}`])
  const schema = await rollBack(clusterDir, createLogger('warn', { stream: process.stderr }))
  process.stdout.write(
    `The database is as it was before the upgrade (tables of ${schema}). Start the version from before it.\n`,
  )
}
