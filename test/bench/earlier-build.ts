import { execFile } from 'node:child_process'
import { mkdir, readFile, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { OptionError } from './options.ts'
import { runProgram } from './processes.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const run = promisify(execFile)

/** Another commit's server, to stand beside ours. */
export interface EarlierBuild {
  /** As it was asked for, and which commit that is. */
  name: string
  /** The path of its `main.js`. */
  main: string
  /** Of an environment what it can be told: a setting that it does not know would stop its start. */
  known(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv
}

/** @throws OptionError when git knows no such commit */
export async function findCommit(ref: string): Promise<string> {
  const args = ['rev-parse', '--verify', '--quiet', '--end-of-options', `${ref}^{commit}`]
  const { stdout } = await run('git', args, { cwd: ROOT }).catch(() => {
    throw new OptionError(`--against ${ref}: git knows no such commit here`)
  })
  return stdout.trim()
}

/** Builds a commit below `folder`, which has all of it: git need not know, and nothing is left when that is removed. */
export async function buildCommit(ref: string, commit: string, folder: string): Promise<EarlierBuild> {
  const home = join(folder, 'earlier')
  const log = join(folder, 'earlier.log')
  await unpackCommit(commit, home, log)
  const build = ['npm', 'run', '--silent', 'build']
  if (!(await shareModules(commit, home))) await runProgram(['npm', 'ci'], { cwd: home, log })
  await runProgram(build, { cwd: home, log })
  const settings = await readFile(join(home, 'docs/settings.md'), 'utf8').catch(() => '')
  return {
    name: `${ref} (${commit.slice(0, 7)})`,
    main: join(home, 'dist/main.js'),
    known: (env) => knownOf(env, settings),
  }
}

/** What of an environment is no setting, or is one of these. @param settings docs/settings.md, or '' without one */
export function knownOf(env: NodeJS.ProcessEnv, settings: string): NodeJS.ProcessEnv {
  const isKnown = (name: string) => !name.startsWith('STORAGE_') || settings.includes(`\`${name}\``)
  return Object.fromEntries(Object.entries(env).filter(([name]) => isKnown(name)))
}

/** The files of a commit, without its history. */
export async function unpackCommit(commit: string, home: string, log: string): Promise<void> {
  const archive = `${home}.tar`
  await mkdir(home)
  await runProgram(['git', 'archive', `--output=${archive}`, commit], { cwd: ROOT, log })
  await runProgram(['tar', '-xf', archive, '-C', home], { cwd: ROOT, log })
}

/** Lets it use what is installed here, if it would install the same. */
async function shareModules(commit: string, home: string): Promise<boolean> {
  const decisive = ['package-lock.json', 'patches']
  const isSame = await run('git', ['diff', '--quiet', commit, '--', ...decisive], { cwd: ROOT }).then(
    () => true,
    () => false,
  )
  if (isSame) await symlink(join(ROOT, 'node_modules'), join(home, 'node_modules'))
  return isSame
}
