import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { ConfigError, SETTINGS } from '../config/config.ts'
import { foreignProblems } from '../config/translated-env.ts'

/**
 * Takes settings from a file into the environment; what is there already stays.
 *
 * @throws ConfigError for another server's names, which would do nothing; what reading the file throws
 */
export function loadSettings(path: string): void {
  const env = parseEnv(readFileSync(path, 'utf8')) as Record<string, string>
  const problems = foreignProblems(env, SETTINGS)
  if (problems.length > 0) {
    throw new ConfigError([...problems, `check --explain-env ${path} writes all of it as it is to be here`])
  }
  process.loadEnvFile(path)
}
