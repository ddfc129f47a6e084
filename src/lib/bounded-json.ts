/** Levels of what callers send. Whoever reads it calls itself for each: PostgreSQL, other clients, JSON.stringify. */
const MAX_DEPTH = 32

/** Twice the most names that one request may hold. What is wide costs as much as what is deep: 150 ns for each value. */
const MAX_VALUES = 20_000

/** The text may be JSON, but would take too long to read. The message goes on after what it is about. */
export class JsonTooComplex extends Error {
  override readonly name = 'JsonTooComplex'
}

/**
 * `JSON.parse` for what others have written: 2 MiB of `[` would keep the server busy for half a second. Looks through
 * the text first, which takes 3 ns for each character.
 *
 * @throws JsonTooComplex; SyntaxError when it is no JSON
 */
export function parseJson(text: string): unknown {
  checkComplexity(text)
  return JSON.parse(text)
}

/**
 * For text that somebody else parses. Right for JSON up to its first mistake, and a parser does not look behind that.
 *
 * @param maxDepth lists and objects in each other, at most
 * @throws JsonTooComplex
 */
export function checkComplexity(text: string, maxDepth = MAX_DEPTH): void {
  let depth = 0
  let values = 1
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at)
        break
      case BRACKET:
      case BRACE:
        depth++
        values++
        if (depth > maxDepth) throw new JsonTooComplex(`must not be nested more than ${maxDepth} deep`)
        break
      case CLOSING_BRACKET:
      case CLOSING_BRACE:
        depth--
        break
      case COMMA:
        values++
        if (values > MAX_VALUES) throw new JsonTooComplex(`must not hold more than ${MAX_VALUES} values`)
    }
  }
}

/** Where the quote is that ends the string which begins here. */
function endOfString(text: string, start: number): number {
  let at = start + 1
  for (; at < text.length; at++) {
    const character = text.charCodeAt(at)
    if (character === QUOTE) break
    if (character === BACKSLASH) at++
  }
  return at
}

const QUOTE = 0x22
const COMMA = 0x2c
const BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSING_BRACKET = 0x5d
const BRACE = 0x7b
const CLOSING_BRACE = 0x7d
