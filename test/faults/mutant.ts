import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** A copy of the build that does one thing less. */
export interface Mutant {
  /** What it does not do. */
  omits: string
  /** Within `dist/`. */
  file: string
  /** Text that is there once. */
  find: string
  replace: string
}

/**
 * The text of the file that does one thing less.
 *
 * @throws when what is to be changed is not there once: the code has changed, and its mutant must too
 */
export function mutated({ file, find, replace }: Mutant): string {
  const text = readFileSync(join(ROOT, 'dist', file), 'utf8')
  const count = text.split(find).length - 1
  if (count !== 1) throw new Error(`${file} has ${count} times what a mutant is to change: ${find}`)
  return text.replace(find, () => replace)
}

/** Makes the copy. Returns its folder, with `dist/main.js` in it. */
export function buildMutant(mutant: Mutant): string {
  const text = mutated(mutant)
  const folder = mkdtempSync(join(tmpdir(), 'strongroom-mutant-'))
  for (const name of ['dist', 'drizzle', 'vendor', 'package.json']) {
    cpSync(join(ROOT, name), join(folder, name), { recursive: true })
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'dist', mutant.file), text)
  return folder
}

export function removeMutant(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
}
