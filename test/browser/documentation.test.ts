import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Browser, hasChromium, startChromium } from '../support/chromium.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

describe.skipIf(!hasChromium)("the documentation, in a browser (needs Debian's chromium)", () => {
  let server: TestServer
  let browser: Browser
  beforeAll(async () => {
    server = await startTestServer()
    browser = await startChromium()
  })
  afterAll(async () => {
    await browser?.close()
    await server?.close()
  })

  it.each(['/storage/v1/documentation', '/documentation/'])(
    'at %s shows operations, asks nobody else, and does nothing that its policy forbids',
    async (path) => {
      const page = await browser.context.newPage()
      const asked: string[] = []
      const said: string[] = []
      page.on('request', (request) => asked.push(request.url()))
      page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`))
      page.on('pageerror', (error) => said.push(error.message))
      await page.addInitScript(`document.addEventListener('securitypolicyviolation', (event) =>
        console.error(event.violatedDirective + ' forbids ' + event.blockedURI))`)
      await page.goto(`${server.url}${path}`)
      await page.getByText('Resumable uploads').first().waitFor()
      await page.getByText('Makes a bucket').first().click()
      await page.getByText('file_size_limit').first().waitFor()
      expect(asked.filter((url) => !url.startsWith(`${server.url}/`) && !url.startsWith('data:'))).toEqual([])
      expect(asked.length).toBeGreaterThanOrEqual(3)
      expect(said).toEqual([])
      await page.close()
    },
  )
})
