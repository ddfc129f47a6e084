import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../support/project-texts.ts'

/** A fenced block of a page. */
export interface Block {
  /** Relative to the project's folder. */
  page: string
  /** Of its fence, from 1. */
  line: number
  /** What stands behind the fence: sh, js, ts, sql, json, nginx, text. */
  kind: string
  text: string
  /** From a first line that is a comment with a file's name: the text is that file. */
  file?: string
  /** From `<!-- not run: why -->` before it: why no test can do what it says. */
  notRun?: string
  /** A program that not everybody has: from `<!-- needs psql -->` before it, or curl where that is called. */
  needs?: string
  /** What its commands print: the text or JSON right behind it. `…` stands for anything. */
  output?: string
}

/** The README, and the pages that it leads to. */
export const PAGES = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter(isPage)
    .map((name) => `docs/${name}`),
]

function isPage(name: string): boolean {
  return name.endsWith('.md')
}

export function readPage(page: string): string {
  return readFileSync(join(ROOT, page), 'utf8')
}

/** All blocks of a page, in its order; what a block prints belongs to that. */
export function readBlocks(page: string): Block[] {
  const lines = readPage(page).split('\n')
  const blocks: Block[] = []
  /** What stands between the last block and here, without empty lines. */
  let between: string[] = []
  for (let at = 0; at < lines.length; at++) {
    const fence = /^( *)```(\S*)$/.exec(lines[at] ?? '')
    if (fence === null) {
      if (lines[at]?.trim()) between.push(lines[at] ?? '')
      continue
    }
    const [, indent = '', kind = ''] = fence
    const end = lines.indexOf(`${indent}\`\`\``, at + 1)
    if (end < 0) throw new Error(`${page}:${at + 1}: this block has no end`)
    const text = lines
      .slice(at + 1, end)
      .map((line) => line.slice(indent.length))
      .join('\n')
    const last = blocks.at(-1)
    const isOutput = (kind === 'text' || kind === 'json') && last?.kind === 'sh' && between.length === 0
    if (isOutput) last.output = text
    else blocks.push({ page, line: at + 1, kind, text, ...fileName(text), ...mark(text, between.at(-1)) })
    between = []
    at = end
  }
  return blocks
}

function fileName(text: string): Pick<Block, 'file'> {
  const name = /^(?:\/\/|--|#) ([\w-]+\.\w+)$/m.exec(text.split('\n', 1)[0] ?? '')?.[1]
  return name === undefined ? {} : { file: name }
}

function mark(text: string, comment = ''): Pick<Block, 'notRun' | 'needs'> {
  const [, why] = /^ *<!-- not run: (.+) -->$/.exec(comment) ?? []
  const program = /^ *<!-- needs (\S+) -->$/.exec(comment)?.[1] ?? /\bcurl(?= )/.exec(text)?.[0]
  return { ...(why !== undefined && { notRun: why }), ...(program !== undefined && { needs: program }) }
}
