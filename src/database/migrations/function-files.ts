import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import postgres from '#postgres'

/** The functions and triggers that are true now, a file for each subject (decision 0040). */
export interface FunctionFiles {
  /** Raised whenever a text is changed: a database that has heard of a higher one is a newer server's. */
  revision: number
  files: FunctionFile[]
}

export interface FunctionFile {
  /** Such as `lists.sql`. */
  name: string
  /** Statements that may run any number of times. */
  text: string
  sha256: string
}

/** A file that PostgreSQL refuses. The message names it. */
export class FunctionFileError extends Error {
  override readonly name = 'FunctionFileError'
}

/** @param folder of the migrations, which has them in `functions/` */
export function readFunctionFiles(folder: string): FunctionFiles {
  const functions = join(folder, 'functions')
  const names = readdirSync(functions).filter((name) => name.endsWith('.sql'))
  const { revision } = JSON.parse(readFileSync(join(folder, 'meta/functions.json'), 'utf8'))
  return { revision, files: names.sort().map((name) => readFile(join(functions, name), name)) }
}

function readFile(path: string, name: string): FunctionFile {
  const text = readFileSync(path, 'utf8')
  return { name, text, sha256: createHash('sha256').update(text).digest('hex') }
}

/** Those whose text the database does not have; none when it is a newer server's. Needs all migrations. */
export async function findChangedFiles(
  sql: postgres.ISql,
  { revision, files }: FunctionFiles,
): Promise<FunctionFile[]> {
  const kept = await sql<{ file: string; sha256: string; revision: number }[]>`
    select file, sha256, revision from strongroom.function_texts`
  if (kept.some((row) => row.revision > revision)) return []
  const texts = new Map(kept.map((row) => [row.file, row.sha256]))
  return files.filter((file) => texts.get(file.name) !== file.sha256)
}

/**
 * Runs files, and notes their texts.
 *
 * @param tx whose end is the end of all that they change
 * @throws FunctionFileError, after which the transaction can only be taken back
 */
export async function runFunctionFiles(
  tx: postgres.TransactionSql,
  files: FunctionFile[],
  revision: number,
): Promise<void> {
  // One may call what a later one makes.
  await tx`set local check_function_bodies = off`
  for (const file of files) {
    await run(tx, file)
    await tx`
      insert into strongroom.function_texts as t (file, sha256, revision) values (${file.name}, ${file.sha256}, ${revision})
      on conflict (file) do update set sha256 = excluded.sha256, revision = excluded.revision, run_at = now()`
  }
}

async function run(tx: postgres.TransactionSql, { name, text }: FunctionFile): Promise<void> {
  try {
    await tx.unsafe(text).simple()
  } catch (error) {
    if (!(error instanceof postgres.PostgresError)) throw error
    const line = error.position && `:${text.slice(0, Number(error.position)).split('\n').length}`
    throw new FunctionFileError(`drizzle/functions/${name}${line ?? ''}: ${error.message}`, { cause: error })
  }
}
