import { ConfigError, readConfig } from '../../src/config/config.ts'

/** What is wrong with these settings: a sentence each. */
export function settingProblems(env: Record<string, string>): string[] {
  try {
    readConfig(env)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}
