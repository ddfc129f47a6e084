import { readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Browser, hasChromium, startChromium } from '../support/chromium.ts'
import { ROOT } from '../support/project-texts.ts'

const FOLDER = join(ROOT, 'docs/images')
const PICTURES = readdirSync(FOLDER).filter((name) => name.endsWith('.svg'))

/** Of an SVG, as a browser knows it. */
interface TextNode {
  textContent: string
  getBBox(): { x: number; y: number; width: number; height: number }
}

it.each(PICTURES)(
  '%s is for everybody: with words for those who hear it, dark at night, and with nothing from elsewhere',
  async (name) => {
    const svg = await readFile(join(FOLDER, name), 'utf8')
    expect(svg).toMatch(/<title id="title">\S/)
    expect(svg).toMatch(/<desc id="desc">\s*\S/)
    expect(svg).toContain('role="img" aria-labelledby="title desc"')
    expect(svg).toContain('@media (prefers-color-scheme: dark)')
    expect(svg).not.toMatch(/href=|@import|@font-face|<script|url\((?!#)/)
  },
)

describe.skipIf(!hasChromium)("drawn by a browser (needs Debian's chromium)", () => {
  let browser: Browser
  beforeAll(async () => {
    browser = await startChromium()
  })
  afterAll(() => browser?.close())

  it.each(PICTURES)('%s has its texts inside, and none over another', async (name) => {
    const svg = await readFile(join(FOLDER, name), 'utf8')
    const page = await browser.context.newPage()
    // As XML, so that what is no well-formed SVG is an error.
    await page.goto(`file://${join(FOLDER, name)}`)
    const texts = await page.locator('text').evaluateAll((nodes) =>
      (nodes as unknown as TextNode[]).map((node) => {
        const { x, y, width, height } = node.getBBox()
        return { says: node.textContent, x, y, width, height }
      }),
    )
    const [width = 0, height = 0] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg)?.slice(1).map(Number) ?? []
    await page.close()
    expect(texts.length).toBeGreaterThan(0)
    const outside = texts.filter(
      (box) => box.x < 0 || box.y < 0 || box.x + box.width > width || box.y + box.height > height,
    )
    // Ascents and descents of lines may touch; letters may not.
    const [SIDE, LINE] = [1, 4]
    const over = texts.flatMap((one, index) =>
      texts
        .slice(index + 1)
        .filter(
          (other) =>
            one.x + SIDE < other.x + other.width &&
            other.x + SIDE < one.x + one.width &&
            one.y + LINE < other.y + other.height &&
            other.y + LINE < one.y + one.height,
        )
        .map((other) => [one.says, other.says]),
    )
    expect({ outside, over }).toEqual({ outside: [], over: [] })
  })
})
