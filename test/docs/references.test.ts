import { existsSync } from 'node:fs'
import { posix } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type ProjectText, projectTexts, ROOT } from '../support/project-texts.ts'

/*
 * Whatever a comment or a page refers to is there. A reference is a document's name and a section sign: `wire` and `design`
 * are ours, in docs/; others are read where they are published.
 */

const SIGN = '\u00a7'
const TEXTS = projectTexts()
const PAGES = new Map(TEXTS.filter(({ path }) => path.endsWith('.md')).map(({ path, text }) => [path, text]))

const OURS = new Map([
  ['wire', 'docs/wire.md'],
  ['design', 'docs/design.md'],
])

const PUBLISHED = 'RFC \\d+|WHATWG HTML|Fetch standard|PostgreSQL manual'

/** Merged migrations are never edited, and call docs/wire.md by its former name. */
const MIGRATION = /^drizzle\/\d{4}_\w+\.sql$/

/** A space, or where a comment breaks its line. */
const GAP = '(?: |\\n[ \\t]*(?:\\*|//|--)?[ \\t]*)'

const DOCUMENT = `contract|wire|design|${PUBLISHED}`.replaceAll(' ', GAP)

const REFERENCE = new RegExp(`(?:\\b(${DOCUMENT}),?${GAP})?${SIGN}(\\d+(?:\\.\\d+)*)?`, 'gi')

/** What stands between two sections of one document. */
const SAME_DOCUMENT = new RegExp(`^(?:,| and)${GAP}$`)

interface Reference {
  /** As it stands there; undefined when nothing says it. */
  document: string | undefined
  section: string | undefined
  line: number
}

function referencesIn(text: string): Reference[] {
  const found: Reference[] = []
  let end = 0
  for (const match of text.matchAll(REFERENCE)) {
    const isSame = SAME_DOCUMENT.test(text.slice(end, match.index))
    const document =
      match[1]?.replace(new RegExp(GAP, 'g'), ' ') ?? (isSame ? found.at(-1)?.document : undefined)
    end = match.index + match[0].length
    found.push({ document, section: match[2], line: text.slice(0, match.index).split('\n').length })
  }
  return found
}

/** The page that a document's name stands for; undefined for one that is published elsewhere. */
function pageOf(document: string | undefined, path: string): string | null | undefined {
  if (document === undefined) return [...OURS.values()].includes(path) ? path : null
  if (new RegExp(`^(?:${PUBLISHED})$`, 'i').test(document)) return undefined
  const name = document.toLowerCase()
  if (name === 'contract') return MIGRATION.test(path) ? OURS.get('wire') : null
  return OURS.get(name)
}

function sectionsOf(page: string): string[] {
  return [...(PAGES.get(page) ?? '').matchAll(/^#{2,4} (\d+(?:\.\d+)*)\.? /gm)].map(
    ([, number]) => number ?? '',
  )
}

const SECTIONS = new Map([...OURS.values()].map((page) => [page, sectionsOf(page)]))

function wrongReferences({ path, text }: ProjectText): string[] {
  return referencesIn(text).flatMap(({ document, section, line }) => {
    const where = `${path}:${line}: ${document ?? ''} ${SIGN}${section ?? ''}`
    const page = pageOf(document, path)
    if (page === null) return [`${where} names no document`]
    if (page === undefined || SECTIONS.get(page)?.includes(section ?? '')) return []
    return [`${where} is no section of ${page}`]
  })
}

describe('references to sections', () => {
  it('lead somewhere, all of them', () => {
    expect(TEXTS.flatMap(wrongReferences)).toEqual([])
  })

  it('are found in comments, also behind a line break and one behind the other', () => {
    const text = [
      `/** As it says (wire ${SIGN}3.1, ${SIGN}3.2). */`,
      ` * of storage-js (RFC 9110`,
      ` * ${SIGN}5.1; design ${SIGN}3). And ${SIGN}7 is nobody's.`,
    ].join('\n')
    expect(referencesIn(text)).toEqual([
      { document: 'wire', section: '3.1', line: 1 },
      { document: 'wire', section: '3.2', line: 1 },
      { document: 'RFC 9110', section: '5.1', line: 2 },
      { document: 'design', section: '3', line: 3 },
      { document: undefined, section: '7', line: 3 },
    ])
  })

  it.each([
    ['a section that is not there', 'src/a.ts', `wire ${SIGN}99`],
    ['one that no document has', 'src/a.ts', `design ${SIGN}3.1.4`],
    ['a bare sign', 'src/a.ts', `as ${SIGN}3.1 says`],
    ['a sign without a number', 'docs/wire.md', `the ${SIGN} of it`],
    ['the former name outside migrations', 'src/a.ts', `contract ${SIGN}3.1`],
    ['a document that nobody knows', 'src/a.ts', `manual ${SIGN}3.1`],
  ])('are refused: %s', (_, path, text) => {
    expect(wrongReferences({ path, text })).toHaveLength(1)
  })

  it.each([
    ['of our own', 'src/a.ts', `Wire ${SIGN}3.1`],
    ['of a standard', 'src/a.ts', `RFC 9110 ${SIGN}99.9`],
    ['within the page itself', 'docs/design.md', `see ${SIGN}4`],
    ['of a migration', 'drizzle/0001_buckets_and_objects.sql', `contract ${SIGN}7.1, ${SIGN}7.2`],
  ])('are taken: %s', (_, path, text) => {
    expect(wrongReferences({ path, text })).toEqual([])
  })

  it.each([...SECTIONS])('have one section each in %s', (_, sections) => {
    expect(sections.length).toBeGreaterThan(9)
    expect(sections).toEqual([...new Set(sections)])
  })
})

/** As GitHub makes them of headings. */
function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>()
  for (const [, heading = ''] of withoutCode(page).matchAll(/^#{1,6} (.+)$/gm)) {
    const slug = heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
      .replaceAll(' ', '-')
    let anchor = slug
    for (let count = 1; anchors.has(anchor); count++) anchor = `${slug}-${count}`
    anchors.add(anchor)
  }
  return anchors
}

function withoutCode(page: string): string {
  return page.replace(/^ *```.*?^ *```/gms, '')
}

function brokenLinks(path: string, page: string): string[] {
  const links = withoutCode(page)
    .replace(/`[^`\n]*`/g, '')
    .matchAll(/\]\(([^)\s]+)\)/g)
  return [...links].flatMap(([, link = '']) => {
    if (/^(?:https?|mailto):/.test(link)) return []
    const [file = '', anchor] = link.split('#', 2)
    const target = file === '' ? path : posix.join(posix.dirname(path), file)
    const isThere = existsSync(posix.join(ROOT, target))
    if (isThere && (anchor === undefined || anchorsOf(PAGES.get(target) ?? '').has(anchor))) return []
    return [`${path}: ${link}`]
  })
}

describe('links between pages', () => {
  it('lead to a file and a heading', () => {
    expect([...PAGES].flatMap(([path, page]) => brokenLinks(path, page))).toEqual([])
  })

  it('are refused when one of both is missing', () => {
    const page = '[a](wire.md#1-conventions) [b](nothing.md) [c](wire.md#nothing) [d](#e-f)\n\n## E: `f`'
    expect(brokenLinks('docs/a.md', page)).toEqual([
      'docs/a.md: nothing.md',
      'docs/a.md: wire.md#nothing',
      'docs/a.md: #e-f',
    ])
  })
})

/** Files of ours that a page names; `NNNN` stands for any number. */
const NAMED_FILE = /(?<![\w./-])(?:src|test|drizzle|docs|patches|scripts|vendor)\/(?!NNNN)[\w./-]*\w\.\w+/g

describe('files that pages name', () => {
  it('are there', () => {
    const named = [...PAGES].flatMap(([path, page]) =>
      (page.match(NAMED_FILE) ?? []).map((file) => ({ path, file })),
    )
    expect(named.filter(({ file }) => !existsSync(posix.join(ROOT, file)))).toEqual([])
    expect(named.length).toBeGreaterThan(50)
  })
})

describe('decisions', () => {
  const folder = 'docs/decisions/'
  const notes = [...PAGES.keys()]
    .filter((path) => path.startsWith(folder) && !path.endsWith('README.md'))
    .map((path) => path.slice(folder.length))
  const numbers = new Set(notes.map((note) => note.slice(0, 4)))

  it('are in the index once each, and have a number of their own', () => {
    const index = PAGES.get(`${folder}README.md`) ?? ''
    const listed = [...index.matchAll(/^- \[(\d{4})\]\((\1-[\w-]+\.md)\) \S/gm)].map(([, , note]) => note)
    expect(listed.sort()).toEqual(notes.sort())
    expect(numbers.size).toBe(notes.length)
  })

  it('are there wherever one is named', () => {
    const unknown = TEXTS.flatMap(({ path, text }) => {
      const named = [
        ...text.matchAll(/\bdecisions?[ /]((?:\d{4}(?:, | and )?)+)/gi),
        // Pages of ours name them in brackets alone; in migrations that would be another migration.
        ...(path.startsWith('docs/') ? text.matchAll(/\((?:since )?(0\d{3})\)/g) : []),
      ].flatMap(([, list]) => list?.match(/\d{4}/g) ?? [])
      return named.filter((number) => !numbers.has(number)).map((number) => `${path}: ${number}`)
    })
    expect(unknown).toEqual([])
  })
})
