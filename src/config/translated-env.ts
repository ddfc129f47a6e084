import { backendName, counterpartOf, sayCounterpart } from './foreign-settings.ts'

/** What a file with another server's settings becomes. */
export interface TranslatedEnv {
  /** Settings of ours, each with where it comes from; the same name if it was ours already. */
  settings: { name: string; value: string; from: string }[]
  /** What is not needed here, and why. */
  needless: { name: string; why: string }[]
  /** What nobody is known to have, or has a value that nothing here corresponds to. */
  unknown: { name: string; why: string }[]
}

/**
 * Reads another server's settings as ours. What is said by our own name stands before what is said by another's, and the first of
 * several names for the same, by the alphabet, before the rest.
 *
 * @param env as a file has it
 * @param known names of ours
 */
export function translateEnv(env: Record<string, string>, known: readonly string[]): TranslatedEnv {
  const translated: TranslatedEnv = { settings: [], needless: [], unknown: [] }
  const { settings, needless, unknown } = translated
  const given = inOrder(env)
  for (const [name, value] of given) {
    if (known.includes(name)) settings.push(...ownSetting(name, value))
  }
  const isSaid = (name: string) => settings.some((setting) => setting.name === name)
  for (const [name, value] of given) {
    if (known.includes(name)) continue
    const counterpart = counterpartOf(name)
    if (!counterpart) {
      unknown.push({ name, why: 'no setting of this server, nor of one that is known' })
      continue
    }
    const { ours, translate = (text) => text } = counterpart
    const text = ours === undefined ? undefined : translate(value)
    if (ours === undefined) needless.push({ name, why: sayCounterpart(counterpart) })
    else if (isSaid(ours)) needless.push({ name, why: `${ours} says it already` })
    else if (text === undefined) unknown.push({ name, why: sayCounterpart(counterpart) })
    else settings.push({ name: ours, value: text, from: name })
  }
  return translated
}

/** What says something, by name: not every Node tells it in the order of the file. */
function inOrder(env: Record<string, string>): [name: string, value: string][] {
  return Object.entries(env)
    .filter(([, value]) => value !== '')
    .sort(([a], [b]) => (a < b ? -1 : 1))
}

/** A name of ours, whose value may be another's. */
function ownSetting(name: string, value: string): TranslatedEnv['settings'] {
  if (name !== 'STORAGE_BACKEND') return [{ name, value, from: name }]
  const backend = { name, value: backendName(value) ?? value, from: name }
  const isMinio = value.toLowerCase() === 'minio'
  return isMinio ? [backend, { name: 'STORAGE_S3_FORCE_PATH_STYLE', value: 'true', from: name }] : [backend]
}

/**
 * What is wrong with a file whose settings are other servers': names that mean nothing here, though something was meant by
 * them, each with what to set. A file that says ours too may be for both.
 *
 * @param env as the file has it
 * @param known names of ours
 */
export function foreignProblems(env: Record<string, string>, known: readonly string[]): string[] {
  return inOrder(env).flatMap(([name, value]) => {
    const counterpart = known.includes(name) ? undefined : counterpartOf(name)
    // A STORAGE_… is refused wherever it stands (config.ts).
    if (counterpart?.ours === undefined || name.startsWith('STORAGE_') || env[counterpart.ours]) return []
    if (counterpart.translate && counterpart.translate(value) === undefined) return []
    return [`${name} means nothing here: ${sayCounterpart(counterpart)}`]
  })
}
