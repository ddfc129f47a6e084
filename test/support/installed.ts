import { existsSync } from 'node:fs'
import { delimiter, resolve } from 'node:path'
import { describe } from 'vitest'

/** Whether there is such a program on the PATH, or at this path. */
export function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(resolve(folder, program)))
}

/** Runs `suite` where there is such a program; skips it, by its name, elsewhere. */
export function describeWith(program: string, name: string, suite: () => void): void {
  if (isInstalled(program)) describe(name, suite)
  else describe.skip(`${name} (needs ${program})`, suite)
}
