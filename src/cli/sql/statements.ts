/** One statement of a script, without the semicolon behind it. */
export interface Statement {
  text: string
  /** Where it begins in the script. */
  offset: number
}

/** The script is none that PostgreSQL could be sent. */
export class ScriptError extends Error {
  override readonly name = 'ScriptError'

  constructor(
    message: string,
    readonly offset: number,
  ) {
    super(message)
  }
}

/**
 * PostgreSQL's lexical rules (PostgreSQL manual, §4.1), as far as they say where a statement ends: what is not matched here
 * has one character. Two quotes in a text are the end of one and the beginning of another, which comes to the same.
 */
const TOKEN = new RegExp(
  [
    '(?<space>\\s+|--[^\\n]*)',
    '(?<comment>/\\*)',
    "[eE]'[^'\\\\]*(?:\\\\[^][^'\\\\]*)*(?:'|$)",
    "'[^']*(?:'|$)",
    '"[^"]*(?:"|$)',
    '(?<dollar>\\$(?:[A-Za-z_\\u0080-\\uffff][\\w\\u0080-\\uffff]*)?\\$)',
    '(?<word>[A-Za-z_\\u0080-\\uffff][\\w$\\u0080-\\uffff]*)',
    '\\d[\\w.]*',
  ].join('|'),
  'y',
)

/** A function whose body is SQL itself, with semicolons of its own. */
const ROUTINE = /^create (?:or replace )?(?:function|procedure) /

/**
 * The statements of a script. One is sent at a time, so that an error is known to be of this one.
 *
 * @throws ScriptError for a command of psql's, which is no SQL
 */
export function splitStatements(script: string): Statement[] {
  const statements: Statement[] = []
  let start: number | undefined
  let words = ''
  let parentheses = 0
  let blocks = 0
  const finish = (end: number) => {
    if (start !== undefined) statements.push({ text: script.slice(start, end), offset: start })
    start = undefined
    words = ''
    parentheses = 0
    blocks = 0
  }
  for (let at = 0; at < script.length; ) {
    TOKEN.lastIndex = at
    const { 0: token = script.charAt(at), groups = {} } = TOKEN.exec(script) ?? {}
    const { space, comment, dollar, word } = groups
    if (space !== undefined) {
      at += token.length
      continue
    }
    if (comment !== undefined) {
      at = endOfComment(script, at)
      continue
    }
    if (token === '\\') throw new ScriptError("Commands of psql's (\\d, \\copy) are no SQL", at)
    if (token === ';' && parentheses === 0 && blocks === 0) {
      finish(at)
      at++
      continue
    }
    start ??= at
    if (token === '(') parentheses++
    else if (token === ')') parentheses = Math.max(0, parentheses - 1)
    else if (word !== undefined) {
      if (words.length < 40) words += `${word.toLowerCase()} ` // enough for the longest beginning that matters
      if (ROUTINE.test(words)) blocks = blocksAfter(word.toLowerCase(), blocks)
    }
    at += token.length
    if (dollar !== undefined) {
      const end = script.indexOf(token, at)
      at = end < 0 ? script.length : end + token.length
    }
  }
  finish(script.length)
  return statements
}

/** How deep in `begin atomic … end` it is behind this word; `case … end` counts within. */
function blocksAfter(word: string, blocks: number): number {
  if (word === 'begin' || (word === 'case' && blocks > 0)) return blocks + 1
  return word === 'end' ? Math.max(0, blocks - 1) : blocks
}

/** Comments may hold others. */
function endOfComment(script: string, start: number): number {
  const mark = /\/\*|\*\//g
  mark.lastIndex = start
  let depth = 0
  for (let found = mark.exec(script); found; found = mark.exec(script)) {
    depth += found[0] === '/*' ? 1 : -1
    if (depth === 0) return mark.lastIndex
  }
  return script.length
}

/** Line and column of a place, from 1, as editors count them; and the line itself. */
export function placeOf(script: string, offset: number): { line: number; column: number; text: string } {
  const before = script.slice(0, offset).split('\n')
  const start = offset - (before.at(-1)?.length ?? 0)
  const text = script.slice(start).split(/\r?\n/, 1)[0] ?? ''
  return { line: before.length, column: [...script.slice(start, offset)].length + 1, text }
}
