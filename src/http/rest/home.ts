import { createHash } from 'node:crypto'
import { Hono } from 'hono'
import { accepts } from 'hono/accepts'
import type { Env } from '../env.ts'
import { absoluteUrl } from '../message/public-url.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { getHome } from './operations/server.ts'

/** Where the curious go on from here. */
const LINKS = ['health', 'status', 'version']

const STYLE = `
  :root { color-scheme: light dark }
  body { font: 1rem/1.6 system-ui, sans-serif; max-width: 34rem; margin: 20vh auto; padding: 0 1.5rem }
  h1 { font-size: 1.4rem; font-weight: 600 }
`

/** Nothing is fetched, run or framed, and no style but the one above applies. */
const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** What somebody finds who opens the server's address: that it runs, and which version. JSON for those who ask for it. */
export function homeRoutes(services: Services) {
  const { version, documentation } = services
  const names = documentation ? [...LINKS, 'documentation'] : LINKS
  return new Hono<Env>().get(
    '/',
    operation(getHome, (c) => {
      const links = Object.fromEntries(names.map((name) => [name, absoluteUrl(c, services, `/${name}`)]))
      c.env.outgoing.appendHeader('Vary', 'Accept') // on Node's response, where that of `cors.ts` is
      // A proxy may have been told another host by whoever asked: its links are for nobody else.
      c.header('Cache-Control', 'no-store')
      const type = accepts(c, {
        header: 'Accept',
        supports: ['text/html', 'application/json'],
        default: 'text/html',
      })
      if (type === 'application/json') return c.json({ name: 'Strongroom', version, links })
      return c.html(page(version, links), 200, {
        'Content-Security-Policy': POLICY,
        'X-Content-Type-Options': 'nosniff',
        'Referrer-Policy': 'no-referrer',
      })
    }),
  )
}

function page(version: string, links: Record<string, string>): string {
  const items = Object.entries(links).map(([name, url]) => `<a href="${escaped(url)}">${name}</a>`)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>Strongroom</title>
<style>${STYLE}</style>
</head>
<body>
<h1>Strongroom ${escaped(version)} is running</h1>
<p>A storage server that speaks Supabase Storage's protocol. Its API is below <code>/storage/v1</code>; the README that
came with it has the first upload.</p>
<p>${items.join(' · ')}</p>
</body>
</html>
`
}

/** An address has what the request's Host says. */
function escaped(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
  return text.replace(/[&<>"]/g, (character) => entities[character] ?? '')
}
