import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { ConfigError, readConfig, SETTINGS } from '../../config/config.ts'
import { type TranslatedEnv, translateEnv } from '../../config/translated-env.ts'

/** Settings that are secrets, or have one in them. */
const SECRET =
  /SECRET|PASSPHRASE|TOKEN|CREDENTIALS$|JWKS$|WEBHOOKS$|NATS_URL$|^DATABASE_URL$|DATABASE_DIRECT_URL$/

/** What a shell, and `docker compose`, would put in its place. */
const REFERENCE = /\$\{?\w/

/**
 * Writes a file of settings as this server wants them: ours with their values, then what is not needed and what is unknown, as
 * comments. Secrets only where that is wanted.
 *
 * @returns the text, and whether a server would start with it
 * @throws what reading the file throws
 */
export function explainEnv(
  path: string,
  { withSecrets }: { withSecrets: boolean },
): { text: string; isGood: boolean } {
  const env = parseEnv(readFileSync(path, 'utf8')) as Record<string, string>
  const translated = translateEnv(env, SETTINGS)
  const problems = problemsOf(translated)
  const sections = [
    [
      '# Settings of Strongroom',
      ...translated.settings.flatMap((setting) => settingLines(setting, withSecrets)),
    ],
    listed('Not needed:', translated.needless),
    listed('Unknown, or to be said in another way:', translated.unknown),
    problems.length === 0 ? [] : ['# Still wrong:', ...problems.map((problem) => `#   ${problem}`)],
  ]
  const text = sections
    .filter((lines) => lines.length > 0)
    .map((lines) => `${lines.join('\n')}\n`)
    .join('\n')
  return { text, isGood: problems.length === 0 }
}

function settingLines(
  { name, value, from }: TranslatedEnv['settings'][number],
  withSecrets: boolean,
): string[] {
  const isHidden = SECRET.test(name) && !withSecrets
  const about = [
    ...(from === name ? [] : [`# was ${from}`]),
    ...(REFERENCE.test(value) ? ['# refers to another variable, which has to be put in its place'] : []),
    ...(isHidden ? [`# the value of ${from} belongs here; --with-secrets writes it`] : []),
  ]
  return ['', ...about, isHidden ? `# ${name}=` : `${name}=${quoted(value)}`]
}

/** As Node reads it back. */
function quoted(value: string): string {
  if (/^[\w./:@%+,=-]*$/.test(value)) return value
  const quote = ["'", '"', '`'].find((one) => !value.includes(one)) ?? '"'
  return `${quote}${value}${quote}`
}

function listed(title: string, items: { name: string; why: string }[]): string[] {
  return items.length === 0 ? [] : [`# ${title}`, ...items.map(({ name, why }) => `#   ${name}: ${why}`)]
}

/** Without those about values that are references: what they stand for is not known. */
function problemsOf({ settings }: TranslatedEnv): string[] {
  const plain = settings.filter(({ value }) => !REFERENCE.test(value))
  try {
    readConfig(Object.fromEntries(plain.map(({ name, value }) => [name, value])))
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}
