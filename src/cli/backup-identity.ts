import { readFile } from 'node:fs/promises'
import { ConfigError } from '../config/config.ts'

/**
 * The secret key in a file that `age-keygen` has made.
 *
 * @param path undefined when none was given
 * @throws ConfigError when there is none in it
 */
export async function readIdentity(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  const identity = (await readFile(path, 'utf8'))
    .split('\n')
    .find((line) => line.startsWith('AGE-SECRET-KEY-1'))
  if (identity === undefined) throw new ConfigError([`${path} has no secret key of age (AGE-SECRET-KEY-1…)`])
  return identity.trim()
}
