import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import type { Command } from 'commander'
import type postgres from '#postgres'
import { asOwner } from './owner.ts'
import { answer } from './sql/answer.ts'
import { type Script, SqlError, scriptError, statementError } from './sql/sql-error.ts'
import { ScriptError, type Statement, splitStatements } from './sql/statements.ts'

export function registerSql(program: Command): void {
  program
    .command('sql')
    .description(
      "run SQL in the server's database, such as your policies; without a file, what comes on stdin",
    )
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
    .action(runSql)
}

interface SqlOptions {
  /** SQL in place of a file. */
  command?: string
  /** Rows as JSON, each on a line. */
  json?: boolean
  /** False: each statement by itself. */
  transaction: boolean
}

/** Runs SQL in the server's database, and prints what it answers. All of it holds, or nothing. */
async function runSql(file: string | undefined, options: SqlOptions, command: Command): Promise<void> {
  if (file !== undefined && options.command !== undefined) {
    command.error('error: --command stands in place of a file')
  }
  const script = await read(file, options)
  const statements = split(script)
  await asOwner(
    (sql, signal) => run(sql, script, statements, options, signal),
    ({ severity, message }) => process.stderr.write(`${severity}:  ${message}\n`),
  )
}

async function read(file: string | undefined, { command }: SqlOptions): Promise<Script> {
  if (command !== undefined) return { name: 'command', text: command }
  if (file === undefined || file === '-') {
    if (process.stdin.isTTY) process.stderr.write('Type SQL; Ctrl-D runs it.\n')
    return { name: 'stdin', text: await text(process.stdin) }
  }
  try {
    return { name: file, text: (await readFile(file, 'utf8')).replace(/^\uFEFF/, '') }
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    throw new SqlError(code === 'ENOENT' ? `There is no file ${file}` : `${file} cannot be read: ${message}`)
  }
}

/** @throws SqlError */
function split(script: Script): Statement[] {
  try {
    return splitStatements(script.text)
  } catch (error) {
    throw error instanceof ScriptError ? scriptError(script, error) : error
  }
}

/**
 * One transaction, unless the script begins one itself, or it was said otherwise. A single statement is one anyhow, and
 * some (`vacuum`) refuse any other.
 *
 * @throws SqlError
 */
async function run(
  sql: postgres.Sql,
  script: Script,
  statements: Statement[],
  options: SqlOptions,
  signal: AbortSignal,
): Promise<void> {
  const beginsItself = statements.some(({ text }) => /^(?:begin|start\s+transaction)\b/i.test(text))
  const isOne = options.transaction && statements.length > 1 && !beginsItself
  if (isOne) await sql.unsafe('begin').simple()
  for (const statement of statements) {
    const query = sql.unsafe(statement.text).simple().raw()
    const cancel = () => query.cancel()
    signal.addEventListener('abort', cancel)
    try {
      signal.throwIfAborted()
      process.stdout.write(answer(await query, options))
    } catch (error) {
      throw statementError(error, { script, statement, isUndone: isOne || statements.length === 1 })
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  }
  if (isOne) await sql.unsafe('commit').simple()
}
