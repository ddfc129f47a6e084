import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { Script } from 'node:vm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readConfig, SETTINGS } from '../../src/config/config.ts'
import { forEachConcurrent } from '../../src/lib/concurrency.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { isInstalled } from '../support/installed.ts'
import { nginxConfig } from '../support/nginx.ts'
import { ROOT } from '../support/project-texts.ts'
import { type Block, PAGES, readBlocks, readPage } from './blocks.ts'
import { unknownWords } from './words.ts'

/* What the pages say, without doing it; `commands.test.ts` does what can be done. */

const BLOCKS = PAGES.flatMap(readBlocks)
const at = ({ page, line }: Block) => `${page}:${line}`
const ofKind = (...kinds: string[]) => BLOCKS.filter(({ kind }) => kinds.includes(kind))

describe('the README', () => {
  it('is a front page: at most 200 lines, of which all blocks are tried', () => {
    expect(readPage('README.md').trimEnd().split('\n').length).toBeLessThanOrEqual(200)
    expect(readBlocks('README.md').filter(({ notRun }) => notRun !== undefined)).toEqual([])
  })

  it('leads to every page', () => {
    const readme = readPage('README.md')
    expect(PAGES.filter((page) => page !== 'README.md' && !readme.includes(`](${page})`))).toEqual([])
  })
})

describe('a block', () => {
  it('is of a kind that is tried, or says why it is not', () => {
    const tried = ['sh', 'js', 'ts', 'sql', 'json', 'nginx']
    expect(
      BLOCKS.filter(({ kind, notRun }) => !tried.includes(kind) && notRun === undefined).map(at),
    ).toEqual([])
    // Of a script that is no file, only its form is looked at.
    const loose = ofKind('js', 'ts').filter(({ file, notRun }) => file === undefined && notRun === undefined)
    expect(loose.map(at)).toEqual([])
  })

  it('that is a script is run by the page that has it', () => {
    const scripts = ofKind('js', 'ts', 'sql').filter(({ file }) => file !== undefined)
    const unused = scripts.filter(
      ({ page, file }) =>
        !readBlocks(page).some(({ kind, text }) => kind === 'sh' && text.includes(` ${file}`)),
    )
    expect(unused.map(at)).toEqual([])
  })

  it('that is not run names no command, option, script or service that is not there, nor does the text', async () => {
    const unknown: Record<string, string[]> = {}
    await forEachConcurrent(
      4,
      [...ofKind('sh'), ...PAGES.flatMap(inlineCommands)],
      async ({ page, text }) => {
        const words = await unknownWords(text)
        if (words.length > 0) unknown[`${page}: ${text}`] = words
      },
    )
    expect(unknown).toEqual({})
  })

  it.each(ofKind('json').map((block) => [at(block), block.text]))('of JSON is JSON: %s', (_at, text) => {
    expect(() => JSON.parse(text)).not.toThrow()
  })

  it.each(
    ofKind('js', 'ts')
      .filter(({ file }) => file === undefined)
      .map((block) => [at(block), block.text]),
  )('of a script has its form: %s', (_at, text) => {
    expect(() => new Script(`async () => {\n${text}\n}`)).not.toThrow()
  })

  it.skipIf(!isInstalled('nginx')).each(ofKind('nginx').map((block) => [at(block), block.text]))(
    'for nginx is taken by it (needs nginx): %s',
    async (_at, text) => {
      const folder = await mkdtemp(join(tmpdir(), 'strongroom-nginx-'))
      const site = text.startsWith('location') ? `server { listen 127.0.0.1:1; ${text} }` : text
      const path = join(folder, 'nginx.conf')
      await writeFile(path, nginxConfig(folder, site))
      const args = ['-t', '-e', join(folder, 'error.log'), '-p', folder, '-c', path]
      const { stderr } = await promisify(execFile)('nginx', args).finally(() =>
        rm(folder, { recursive: true }),
      )
      expect(stderr).toContain('test is successful')
      expect(stderr).not.toMatch(/\[(?:warn|emerg|crit)\]/)
    },
  )

  describe('of SQL', () => {
    let database: TestDatabase
    beforeAll(async () => {
      database = await createTestDatabase()
    })
    afterAll(() => database?.drop())

    it.each(ofKind('sql').map((block) => [at(block), block.text]))(
      'is run, and taken back: %s',
      async (_at, text) => {
        const takenBack = new Error('taken back')
        const run = database.admin.begin(async (sql) => {
          await sql.unsafe('create role storage in role strongroom_server')
          await sql.unsafe(text.replace('on database strongroom ', `on database ${database.name} `))
          throw takenBack
        })
        await expect(run).rejects.toBe(takenBack)
      },
    )
  })
})

it('a picture is on a page, and none of them is left over', () => {
  const shown = PAGES.flatMap((page) => [
    ...readPage(page).matchAll(/!\[.+\]\((?:docs\/)?images\/(\S+\.svg)\)/g),
  ])
  const drawn = readdirSync(join(ROOT, 'docs/images')).filter((name) => name.endsWith('.svg'))
  expect([...new Set(shown.map(([, name]) => name))].sort()).toEqual(drawn.sort())
})

describe('a name', () => {
  it('of a file without its folder is that of one', () => {
    const files = ['src', 'test', 'scripts', 'patches', 'vendor'].flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((path) => basename(path)),
    )
    const named = PAGES.flatMap(
      (page) => readPage(page).match(/(?<![\w./-])[\w-]+(?:\.[\w-]+)*\.ts\b/g) ?? [],
    )
    expect(named.filter((name) => !files.includes(name))).toEqual([])
  })

  it.each([...PAGES, '.env.example', 'docker-compose.yml'])('of a setting in %s is that of one', (page) => {
    const named = readPage(page).match(/\bSTORAGE_[A-Z0-9_]*[A-Z0-9]\b(?!_)/g) ?? []
    expect(named.filter((name) => !SETTINGS.includes(name))).toEqual([])
  })
})

describe('docs/settings.md', () => {
  /** Name to default, as the tables have it. */
  const rows = readPage('docs/settings.md')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .flatMap((line) => {
      const [names = '', preset = ''] = line.slice(2).split(' | ')
      return [...names.matchAll(/`(\w+)`/g)].map(([, name = '']) => [name, preset.trim()] as const)
    })

  it('has each setting once', () => {
    expect(rows.map(([name]) => name).sort()).toEqual(SETTINGS.toSorted())
  })

  it('tells what a setting is if nothing is said, where that is a value', () => {
    const base = {
      STORAGE_S3_BUCKET: 'files',
      STORAGE_NATS_URL: 'nats://127.0.0.1',
      STORAGE_S3_REDIRECT: 'true',
    }
    const wrong = rows.filter(([name, preset]) => {
      const value = /^`([^`]+)`$/.exec(preset)?.[1]
      if (value === undefined || value === 'DATABASE_URL') return false
      const others = name in base ? { STORAGE_S3_BUCKET: 'files' } : base
      const said = readConfig({ ...others, [name]: value })
      return JSON.stringify(said) !== JSON.stringify(readConfig(others))
    })
    expect(wrong).toEqual([])
  })
})

/** Commands in the text, between backticks. */
function inlineCommands(page: string): { page: string; text: string }[] {
  const text = readPage(page).replace(/^ *```.*?^ *```$/gms, '')
  const commands = [
    ...text.matchAll(/`((?:npx strongroom|strongroom|node dist\/main\.js|npm|docker compose) [^`]+)`/g),
  ]
  return commands.map(([, command = '']) => ({ page, text: command.replace(/\s+/g, ' ') }))
}
