import { existsSync, realpathSync } from 'node:fs'
import { delimiter, dirname, join, relative, sep } from 'node:path'

/**
 * How this program is called from the folder where it was started, for sentences that say what to run: `strongroom` where
 * the PATH leads to it, `npx strongroom` in a clone or where it is installed, else its file.
 *
 * @param main the file that Node runs
 */
export function invocation(
  main = process.argv[1] ?? '',
  { cwd = process.cwd(), path = process.env.PATH ?? '' } = {},
): string {
  const file = real(main)
  if (file === null) return 'strongroom'
  const isHere = (folder: string) => real(join(folder, 'strongroom')) === file
  // npm puts those of packages before it, but for its own children alone.
  const lasting = path.split(delimiter).filter((folder) => !folder.includes(`node_modules${sep}.bin`))
  if (lasting.some((folder) => folder !== '' && isHere(folder))) return 'strongroom'
  const home = npmHome(cwd)
  const isOurs =
    home !== null && (dirname(dirname(file)) === real(home) || isHere(join(home, 'node_modules/.bin')))
  // What npx has fetched for itself, it finds again.
  if (isOurs || file.includes(`${sep}_npx${sep}`)) return 'npx strongroom'
  return `node ${relative(cwd, file)}`
}

/** The folder whose package and packages npx looks at: the nearest one that has any. */
function npmHome(folder: string): string | null {
  if (['package.json', 'node_modules'].some((name) => existsSync(join(folder, name)))) return folder
  return dirname(folder) === folder ? null : npmHome(dirname(folder))
}

function real(path: string): string | null {
  try {
    return realpathSync(path)
  } catch {
    return null
  }
}
