import { readFileSync } from 'node:fs'
import { parseArgs, parseEnv } from 'node:util'

/**
 * The settings that a command is going to have, before anything is loaded that reads its arguments. Of a file that cannot be
 * read, they tell that do.
 */
export function settingsAhead(args: string[]): Record<string, string | undefined> {
  const { env: named } = parseArgs({ args, options: { env: { type: 'string' } }, strict: false }).values
  try {
    const text = readFileSync(typeof named === 'string' ? named : '.env', 'utf8')
    return { ...parseEnv(text), ...process.env }
  } catch {
    return process.env
  }
}
