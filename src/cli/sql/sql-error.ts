import postgres from '#postgres'
import { placeOf, type ScriptError, type Statement } from './statements.ts'

/** What is executed, and what errors call it. */
export interface Script {
  name: string
  text: string
}

/** What is wrong with somebody's SQL, told whole: where, what, and what PostgreSQL advises. */
export class SqlError extends Error {
  override readonly name = 'SqlError'
}

/** @see splitStatements */
export function scriptError(script: Script, { offset, message }: ScriptError): SqlError {
  return new SqlError(at(script, offset, message))
}

/** @param about.isUndone nothing of the script has been kept */
export function statementError(
  error: unknown,
  about: { script: Script; statement: Statement; isUndone: boolean },
): Error {
  const { script, statement, isUndone } = about
  const undone = isUndone ? ['Nothing was changed.'] : []
  const { message } = error as Error
  if (!(error instanceof postgres.PostgresError)) {
    return new SqlError([at(script, statement.offset, message), ...undone].join('\n'))
  }
  const advice = hereAdvised(error) ?? error.hint
  const lines = [
    at(script, statement.offset + positionIn(statement.text, error.position), `${message} (${error.code})`),
    ...(error.detail === undefined ? [] : [`Detail: ${error.detail}`]),
    ...(advice === undefined ? [] : [`Hint: ${advice}`]),
    ...(error.where === undefined ? [] : [`Context: ${error.where}`]),
    ...undone,
  ]
  return new SqlError(lines.join('\n'))
}

/** What is to be done here, in place of PostgreSQL's own advice. */
function hereAdvised({ code, message }: postgres.PostgresError): string | undefined {
  if (code === '25001') return '--no-transaction runs each statement by itself'
  if (code === '42501' && message.startsWith('must be owner'))
    return 'only their owner changes tables and policies: set DATABASE_URL to the login that migrates'
  return undefined
}

/** PostgreSQL counts characters, from 1; without a position it is the statement as a whole. */
function positionIn(text: string, position: string | undefined): number {
  if (position === undefined) return 0
  return [...text].slice(0, Number(position) - 1).join('').length
}

/** As compilers say it, with the line and a mark below it. */
function at(script: Script, offset: number, message: string): string {
  const { line, column, text } = placeOf(script.text, offset)
  const mark = `${text.slice(0, column - 1).replace(/[^\t]/g, ' ')}^`
  return `${script.name}:${line}:${column}: ${message}\n  ${text}\n  ${mark}`
}
