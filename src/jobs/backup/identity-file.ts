import { readFile } from 'node:fs/promises'
import { BackupError } from './backup-error.ts'

/**
 * The secret key in a file that `age-keygen` has made.
 *
 * @throws WrongKey when there is none in it, or it cannot be read
 */
export async function readIdentityFile(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new BackupError('WrongKey', `${path}, which should have a secret key of age, cannot be read`, {
      cause,
    })
  })
  const identity = text.split('\n').find((line) => line.startsWith('AGE-SECRET-KEY-1'))
  if (identity === undefined) {
    throw new BackupError('WrongKey', `${path} has no secret key of age (AGE-SECRET-KEY-1…)`)
  }
  return identity.trim()
}
