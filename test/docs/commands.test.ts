import { existsSync } from 'node:fs'
import { cp, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newFolder } from '../support/command.ts'
import { removeAtEnd } from '../support/daemon.ts'
import { freePort } from '../support/free-port.ts'
import { isInstalled } from '../support/installed.ts'
import { ROOT } from '../support/project-texts.ts'
import { type Block, PAGES, readBlocks } from './blocks.ts'
import { Shell } from './shell.ts'

/*
 * What a newcomer does: clones, types the README's blocks one by one, and then those of the page that he needs.
 */

const WRITTEN_FOR = 'http://127.0.0.1:8209'

/** What npx finds in the clone, without npm, which takes longer to start than the command: the README has used that. */
const NPX = 'npx() { [ "$1" = strongroom ] && shift && node dist/main.js "$@"; }'

let clone: string
let removeClone: () => Promise<void>
let url: string
let env: Record<string, string>
/** Where the server runs. */
let server: Shell

beforeAll(async () => {
  clone = await newFolder()
  removeClone = removeAtEnd(clone)
  for (const part of [
    'package.json',
    'patches',
    'scripts',
    'drizzle',
    'vendor',
    'src',
    'tsconfig.json',
    'tsconfig.build.json',
  ]) {
    await cp(join(ROOT, part), join(clone, part), { recursive: true })
  }
  await symlink(join(ROOT, 'node_modules'), join(clone, 'node_modules'))
  const port = await freePort()
  url = `http://127.0.0.1:${port}`
  env = {
    STORAGE_PORT: String(port),
    NO_COLOR: '1',
    NPM_CONFIG_UPDATE_NOTIFIER: 'false',
    STORAGE_BACKUP_SHARE: '1', // other tests are no reason to wait
  }
  server = new Shell(clone, env)
})
afterAll(async () => {
  await server?.close()
  await removeClone?.()
})

function canBeRun({ kind, file, notRun }: Block): boolean {
  return notRun === undefined && (kind === 'sh' || file !== undefined)
}

/** Types the blocks of a page that can be run, in its order. */
function tryBlocks(page: string, shell: () => Shell): void {
  for (const block of readBlocks(page)) {
    const { line, needs } = block
    if (!canBeRun(block)) continue
    const isMissing = needs !== undefined && !isInstalled(needs)
    const name = `line ${line}${isMissing ? ` (needs ${needs})` : ''}: ${block.text.split('\n', 1)}`
    it.skipIf(isMissing)(name, () => tryBlock(block, shell()), 120_000)
  }
}

async function tryBlock({ text: written, file, output = '' }: Block, shell: Shell): Promise<void> {
  const text = written.replaceAll(WRITTEN_FOR, url)
  if (file !== undefined) return writeFile(join(clone, file), text)
  if (/^npm start$/m.test(text)) return server.start(text, 'Strongroom is listening')
  const { printed, failed, said } = await shell.run(text)
  if (output !== '') expect(printed.trim(), said).toMatch(asPattern(output.replaceAll(WRITTEN_FOR, url)))
  // Only what the page shows as refused may fail.
  const refused = output.match(/"statusCode":"[45]/g)?.length ?? 0
  expect(failed.length, `${failed.join('\n')}\n${printed}\n${said}`).toBe(refused)
}

/** What a page shows, where `…` is anything within a line, or any lines if it stands alone. */
function asPattern(output: string): RegExp {
  const lines = output
    .trim()
    .split('\n')
    .map((line) => (line === '…' ? '(?:.*\\n)*?' : `${line.split('…').map(escaped).join('.*')}\\n`))
  return new RegExp(`^${lines.join('')}`.replace(/\\n$/, '$'))
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')
}

describe('who does what the pages say, in their order', () => {
  describe('README.md', () => {
    let shell: Shell
    beforeAll(() => {
      shell = new Shell(clone, env)
    })
    afterAll(() => shell.close())
    tryBlocks('README.md', () => shell)
  })

  // Who reads on has what the README's first upload has made: the server, buckets, and the two variables.
  const variables = readBlocks('README.md')
    .flatMap(({ kind, text }) => (kind === 'sh' ? (text.match(/^(?:URL|KEY)=.*$/gm) ?? []) : []))
    .join('\n')
  describe.each(PAGES.filter((page) => page !== 'README.md' && readBlocks(page).some(canBeRun)))(
    '%s',
    (page) => {
      let shell: Shell
      beforeAll(async () => {
        shell = new Shell(clone, env)
        await shell.run(`${NPX}\n${variables.replaceAll(WRITTEN_FOR, url)}`)
      })
      afterAll(() => shell.close())
      tryBlocks(page, () => shell)
    },
  )

  it('ends the server in order with Ctrl-C', async () => {
    expect(await server.close()).toContain('"msg":"stopped"')
    expect(existsSync(join(clone, 'storage-data/postgres/postmaster.pid'))).toBe(false)
  })
})
