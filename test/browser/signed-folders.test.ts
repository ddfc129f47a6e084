import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Browser, hasChromium, startChromium } from '../support/chromium.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { put, type Signed, sign } from '../support/signed.ts'

/** A signed folder, as a browser follows what is in it (docs/links.md). */

describe.skipIf(!hasChromium)("a signed folder, in a browser (needs Debian's chromium)", () => {
  let server: TestServer
  let browser: Browser
  beforeAll(async () => {
    server = await startTestServer()
    await server.createBucket('video')
    await put(server, 'video/7/list.m3u8', '#EXTM3U\n#EXTINF:1,\nparts/0.ts\n#EXTINF:1,\n../7/parts/1.ts\n')
    for (const name of ['7/parts/0.ts', '7/parts/1.ts', '8/other.ts'])
      await put(server, `video/${name}`, name)
    browser = await startChromium()
  })
  afterAll(async () => {
    await browser?.close()
    await server?.close()
  })

  /** Reads what a playlist names, relative to it; then something beside the folder. */
  const play = `async (root) => {
    const list = new URL('list.m3u8', root)
    const lines = (await (await fetch(list)).text()).split('\\n')
    const parts = lines.filter((line) => line !== '' && !line.startsWith('#'))
    const texts = await Promise.all(parts.map(async (part) => (await fetch(new URL(part, list))).text()))
    return [...texts, (await fetch(new URL('../8/other.ts', root))).status]
  }`

  async function playedAt(root: string): Promise<unknown> {
    const page = await browser.context.newPage()
    await page.goto(`${server.url}/status`)
    const played = await page.evaluate(`(${play})(${JSON.stringify(root)})`)
    await page.close()
    return played
  }

  it('leads on by relative addresses with the token in the path', async () => {
    const { path_url: root } = (await sign(server, 'video/7', 60, { prefix: true })) as Signed & {
      path_url: string
    }
    expect(await playedAt(root)).toEqual(['7/parts/0.ts', '7/parts/1.ts', 403])
  })

  it('leads on by a cookie, which no script reads', async () => {
    const page = await browser.context.newPage()
    await page.goto(`${server.url}/status`)
    const token = await page.evaluate(
      `fetch('/storage/v1/object/sign/video/7', {
        method: 'POST',
        headers: { authorization: 'Bearer ${server.keys.serviceKey}', 'content-type': 'application/json' },
        body: '{"expiresIn":60,"prefix":true,"cookie":true}',
      }).then(() => document.cookie)`,
    )
    expect(token).toBe('')
    await page.close()
    const root = `${server.url}/storage/v1/object/sign/video/7/`
    // Without a token at all it is 400.
    expect(await playedAt(root)).toEqual(['7/parts/0.ts', '7/parts/1.ts', 400])
  })
})
