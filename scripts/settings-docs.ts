import { type Setting, settingsIn } from '../src/config/setting.ts'
import { SETTINGS_TABLE } from '../src/config/table.ts'

/**
 * What the pages say of the settings, written anew from their table. Between two marks, a line each, stands what is
 * written; around them, what somebody has to say of it.
 */
export const SETTINGS_DOCS: Record<string, (page: string) => string> = {
  'docs/settings.md': (page) => {
    const { s3, s3Protocol, ...others } = SETTINGS_TABLE
    return [
      ['<!-- settings -->', '<!-- end -->', others] as const,
      ['<!-- settings of the S3 protocol -->', '<!-- end of the S3 protocol -->', s3Protocol] as const,
      ['<!-- settings of S3 -->', '<!-- end of S3 -->', s3] as const,
    ].reduce(
      (filled, [begin, end, table]) => replaceBetween(filled, begin, end, rows(settingsIn(table))),
      page,
    )
  },
  '.env.example': (page) =>
    replaceBetween(page, '# --- settings', '# --- end', settingsIn(SETTINGS_TABLE).map(example).join('\n')),
}

function rows(settings: Setting<unknown>[]): string {
  const lines = settings.map((one) => `| \`${one.variable}\` | ${shownDefault(one)} | ${one.about.help} |\n`)
  return `\n| variable | default | |\n|---|---|---|\n${lines.join('')}\n`
}

function shownDefault({ about: { preset, shown } }: Setting<unknown>): string {
  return shown ?? (preset === undefined ? '–' : `\`${preset}\``)
}

/** As comments, so that a copy of the file changes nothing. */
function example({ variable, about: { help, preset = '', example = preset } }: Setting<unknown>): string {
  const sentence = help.replace(/\[[^\]]+\]\(([\w-]+\.md)(?:#[\w-]+)?\)/g, 'docs/$1')
  return `${comment(`${sentence.replace(/^./, (first) => first.toUpperCase())}.`)}# ${variable}=${example}\n`
}

/** In characters, as of the other lines here. */
const LINE = 118

function comment(text: string): string {
  let line = '#'
  let lines = ''
  for (const word of text.split(' ')) {
    if (`${line} ${word}`.length > LINE) {
      lines += `${line}\n`
      line = '#'
    }
    line += ` ${word}`
  }
  return `${lines}${line}\n`
}

function replaceBetween(page: string, begin: string, end: string, text: string): string {
  const [before, rest, more] = page.split(`${begin}\n`)
  const after = rest?.split(`${end}\n`)[1]
  if (before === undefined || after === undefined || more !== undefined) {
    throw new Error(`not once, or without its end: ${begin}`)
  }
  return `${before}${begin}\n${text}${end}\n${after}`
}
