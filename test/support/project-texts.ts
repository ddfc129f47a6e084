import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The project's folder, with a slash at its end. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** Where people have written something; what stands in the root is looked at besides. */
const FOLDERS = ['.ci', 'docs', 'drizzle', 'patches', 'scripts', 'src', 'test']

const TEXT = /\.(?:css|html|js|json|md|mjs|py|sql|toml|ts|txt|ya?ml)$|^(?:Dockerfile|run|\.env\.example)$/

/** What the packages say is not ours. */
const NOT_OURS = new Set(['package-lock.json'])

export interface ProjectText {
  /** From the project's root. */
  path: string
  text: string
}

/** What people have written in this project: code, SQL, documentation, tests. */
export function projectTexts(): ProjectText[] {
  const inFolders = FOLDERS.map((folder) => `${ROOT}${folder}`)
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder, { recursive: true, withFileTypes: true }))
  return [...readdirSync(ROOT, { withFileTypes: true }), ...inFolders]
    .filter((entry) => entry.isFile() && TEXT.test(entry.name) && !NOT_OURS.has(entry.name))
    .map((entry) => `${entry.parentPath}/${entry.name}`)
    .map((path) => ({ path: relative(ROOT, path), text: readFileSync(path, 'utf8') }))
}
