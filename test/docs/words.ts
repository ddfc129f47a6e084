import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FAMILIES } from '../bench/families.ts'
import { readOptions } from '../bench/options.ts'
import { strongroom } from '../support/command.ts'
import { readCompose } from '../support/compose.ts'
import { ROOT } from '../support/project-texts.ts'

/**
 * What commands name that is not there: subcommands and options of ours, npm's scripts, options of the bench, services and
 * profiles of docker-compose.yml. For commands that no test can run as they stand.
 */
export async function unknownWords(commands: string): Promise<string[]> {
  const unknown: string[] = []
  for (const line of commands.split(/\n|&&|\|\||;/)) {
    const words = line.replace(/(?:^| )#.*/, '').match(/"[^"]*"|'[^']*'|\S+/g) ?? []
    unknown.push(...unknownToNpm(words), ...(await unknownToCompose(words)), ...(await unknownToUs(words)))
  }
  return unknown
}

async function unknownToUs(words: string[]): Promise<string[]> {
  const at = words.findIndex((word) => word === 'strongroom' || word === 'dist/main.js')
  const [command, ...rest] = at < 0 ? [] : words.slice(at + 1)
  if (command === undefined || !/^[a-z]/.test(command)) return []
  const help = await helpOf(command)
  if (help === null) return [command]
  const [part = ''] = rest
  const isOfParts = help.includes('\nCommands:\n') && /^[a-z]/.test(part)
  const helpOfPart = isOfParts ? await helpOf(`${command} ${part}`) : help
  if (helpOfPart === null) return [`${command} ${part}`]
  const options = rest.filter((word) => /^--?[a-z]/.test(word))
  return options.filter((option) => !new RegExp(`(?:^|[ ,])${option}[ ,\n]`).test(helpOfPart))
}

const helps = new Map<string, Promise<string | null>>()

/** Null when there is no such command. @param command with its part, if it has any: `credentials create` */
function helpOf(command: string): Promise<string | null> {
  const known = helps.get(command)
  if (known) return known
  const asked = strongroom([...command.split(' '), '--help'], { cwd: ROOT }).then(({ stdout }) =>
    stdout.startsWith(`Usage: strongroom ${command}`) ? stdout : null,
  )
  helps.set(command, asked)
  return asked
}

const NPMS_OWN = ['ci', 'install', 'pack']

function unknownToNpm(words: string[]): string[] {
  const at = words.indexOf('npm')
  if (at < 0) return []
  const [command = '', ...rest] = words.slice(at + 1)
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const [script = command, dashes, ...args] = command === 'run' ? rest : [command, ...rest]
  if (script === 'bench' && dashes === '--') {
    try {
      readOptions(args, { BENCH_SERVICE_KEY: 'key' }, Object.keys(FAMILIES))
    } catch (error) {
      return [String(error)]
    }
  }
  return script in scripts || NPMS_OWN.includes(script) ? [] : [script]
}

async function unknownToCompose(words: string[]): Promise<string[]> {
  const at = words.indexOf('compose')
  if (at < 1 || words[at - 1] !== 'docker') return []
  const { services } = await readCompose()
  const isProfiled = words[at + 1] === '--profile'
  const profile = isProfiled ? words[at + 2] : undefined
  const profiles = Object.values(services).flatMap(({ profiles = [] }) => profiles)
  if (profile !== undefined && !profiles.includes(profile)) return [profile]
  const [command = '', ...rest] = words.slice(at + (isProfiled ? 3 : 1))
  const named = rest.find((word) => !word.startsWith('-'))
  // `up` without a name is all of them; the others want one.
  if (named === undefined) return command === 'up' ? [] : [command]
  return named in services ? [] : [named]
}
