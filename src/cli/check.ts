import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { checkLocal } from '../backend/local/check.ts'
import { type BackendKind, type Config, readConfig } from '../config/config.ts'
import { demandOf } from '../database/connection/room.ts'
import { checkDatabase, type OpenedForCheck } from '../database/opening/check.ts'
import { checkEmbedded } from '../database/opening/embedded-check.ts'
import type { CheckResult } from '../model/check-result.ts'
import { createLogger } from '../server/log.ts'
import { checkDataFolder } from './check/data-folder.ts'
import { explainEnv } from './check/explain-env.ts'
import { checkKeys } from './check/keys.ts'
import { checkOutside } from './check/outside.ts'
import { checkSample } from './check/sample.ts'
import { withinTime } from './check/within-time.ts'

export function registerCheck(program: Command): void {
  program
    .command('check')
    .description('tell whether database, files and store can be reached and written, and what is wrong')
    .option(
      '--explain-env <file>',
      'write a file of settings, such as that of another server, as this one wants it',
    )
    .option('--with-secrets', 'with that, write secrets, too')
    .addHelpText(
      'after',
      `
Changes nothing, and may run beside a server. The exit code is 1 if anything has failed.`,
    )
    .action(({ explainEnv: file, withSecrets = false }: CheckOptions) =>
      file === undefined ? check() : explain(file, withSecrets),
    )
}

interface CheckOptions {
  explainEnv?: string
  withSecrets?: boolean
}

function explain(file: string, withSecrets: boolean): void {
  const { text, isGood } = explainEnv(file, { withSecrets })
  process.stdout.write(text)
  if (!isGood) process.exitCode = 1
}

/** A store or a database that takes longer for one answer is as good as none. In milliseconds. */
const ANSWER_LIMIT_MS = 30_000

/** The embedded database may have to be started, and to recover from a crash. In milliseconds. */
const START_LIMIT_MS = 300_000

/** Looks at everything that a server needs, and tells what it finds, a line each. Changes nothing. */
async function check(): Promise<void> {
  const config = readConfig(process.env)
  const count = { ok: 0, warning: 0, failed: 0 }
  const width = config.backendPrevious === undefined ? 16 : 24
  const opened: OpenedForCheck = { closers: [] }
  try {
    for await (const result of checkAll(config, opened)) {
      count[result.state]++
      process.stdout.write(line(result, width))
    }
    process.stdout.write(`\n${summary(count)}\n`)
  } finally {
    for (const close of opened.closers.reverse()) await close()
  }
  // At once: what did not answer in time may still hold a connection.
  process.exit(count.failed > 0 ? 1 : 0)
}

async function* checkAll(config: Config, opened: OpenedForCheck): AsyncGenerator<CheckResult> {
  let hasFailed = false
  for await (const result of checkParts(config, opened)) {
    hasFailed ||= result.state === 'failed'
    yield result
  }
  // What one of them has failed on may fail on anything.
  const database = hasFailed ? undefined : opened.database
  if (database) {
    const sample = checkSample(database, config)
    yield* withinTime(
      sample,
      ANSWER_LIMIT_MS,
      'objects: sample',
      'DATABASE_URL and the settings of the store',
    )
  }
  yield* checkOutside(config, database)
}

/** Each part by itself, in the order in which a server needs them. */
async function* checkParts(config: Config, opened: OpenedForCheck): AsyncGenerator<CheckResult> {
  const dataDir = resolve(config.dataDir)
  const from = existsSync('.env') ? 'the environment and .env' : 'the environment'
  yield { about: 'settings', state: 'ok', says: `read from ${from}` }
  const folder = await checkDataFolder(dataDir)
  yield folder
  const hasFolder = folder.state !== 'failed'
  if (hasFolder) yield await checkKeys(dataDir, config)
  if (hasFolder || config.databaseUrl !== undefined) yield* checkDatabaseOf(config, dataDir, opened)
  if (hasFolder || config.backend === 's3') yield* checkBackend(config.backend, config)
  if (config.backendPrevious === undefined) return
  for await (const result of checkBackend(config.backendPrevious, config)) {
    yield { ...result, about: `previous ${result.about}` }
  }
}

async function* checkDatabaseOf(
  config: Config,
  dataDir: string,
  opened: OpenedForCheck,
): AsyncGenerator<CheckResult> {
  const { databaseUrl, databaseDirectUrl } = config
  if (databaseUrl !== undefined) {
    const check = checkDatabase(databaseUrl, databaseDirectUrl, demandOf(config), opened)
    yield* withinTime(check, ANSWER_LIMIT_MS, 'database', 'DATABASE_URL')
    return
  }
  const embedded = checkEmbedded(
    join(dataDir, 'postgres'),
    createLogger('error', { stream: process.stderr }),
    opened,
  )
  yield* withinTime(embedded, START_LIMIT_MS, 'database', 'STORAGE_DATA_DIR')
}

async function* checkBackend(kind: BackendKind, config: Config): AsyncGenerator<CheckResult> {
  if (kind === 'local') {
    const dataDir = resolve(config.dataDir)
    const mayBeNew = kind === config.backend && !existsSync(join(dataDir, 'postgres'))
    yield* withinTime(checkLocal(dataDir, mayBeNew), ANSWER_LIMIT_MS, 'files', 'STORAGE_DATA_DIR')
    return
  }
  if (!config.s3) throw new Error('S3 without its settings') // `readConfig` has refused that
  const { checkStore } = await import('../backend/s3/check.ts') // see `openBackend`
  yield* withinTime(checkStore(config.s3), ANSWER_LIMIT_MS, 'store', 'STORAGE_S3_ENDPOINT')
}

/** @param width of the column of what was looked at */
function line({ state, about, says }: CheckResult, width: number): string {
  return `${state.padEnd(8)} ${about.padEnd(width)} ${says}\n`
}

function summary({ ok, warning, failed }: Record<CheckResult['state'], number>): string {
  const warnings = warning === 0 ? '' : `, ${warning} with a warning`
  if (failed === 0) return `All is well${warnings}.`
  return `${failed} of ${ok + warning + failed} failed${warnings}.`
}
