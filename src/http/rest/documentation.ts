import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { Hono } from 'hono'
import type { AppContext, Env } from '../env.ts'
import { checkConditions } from '../message/conditionals.ts'
import { openApiDocument, type Route } from '../openapi/document.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { getDocument, getDocumentation, getViewer } from './operations/server.ts'

/** OpenAPI Explorer: vendor/openapi-explorer/README.md. */
const VIEWER = new URL('../../../vendor/openapi-explorer/openapi-explorer.min.js', import.meta.url)

/** In seconds. Its address has its version, so that it never changes. */
const YEAR = 31_536_000

const VIEWER_VERSION = '2.4.820'

/** Something that is made when it is first asked for, and then the same for as long as the process lives. */
interface Text {
  bytes: Buffer
  /** With its quotes. */
  etag: string
}

/**
 * The OpenAPI document, and a page that shows it (decision 0064). Public, as it tells nothing but what this server can.
 *
 * @param routes all of the app, these among them
 */
export function documentationRoutes(services: Services, routes: Route[]) {
  const { version, publicUrl } = services
  const document = once(async () => Buffer.from(JSON.stringify(openApiDocument(routes, services))))
  const viewer = once(() => readFile(VIEWER))
  // A document of another address is asked there, so that operations can be tried.
  const policy = pagePolicy(publicUrl === undefined ? [] : [new URL(publicUrl).origin])
  const viewerName = `openapi-explorer-${VIEWER_VERSION}.js`

  const showPage = (c: AppContext) => {
    // Relative to where the page is: a proxy may have its own words before it.
    const here = c.req.path.endsWith('/') ? '' : 'documentation/'
    return c.html(page(version, { document: `${here}json`, viewer: `${here}${viewerName}` }), 200, {
      'Content-Security-Policy': policy,
      'Referrer-Policy': 'no-referrer',
      'Cache-Control': 'no-cache',
    })
  }

  return new Hono<Env>()
    .on('GET', ['/documentation', '/documentation/'], operation(getDocumentation, showPage))
    .get(
      '/documentation/json',
      operation(getDocument, async (c) => send(c, await document(), 'application/json', 'no-cache')),
    )
    .get(
      `/documentation/${viewerName}`,
      operation(getViewer, async (c) =>
        send(c, await viewer(), 'text/javascript; charset=utf-8', `public, max-age=${YEAR}, immutable`),
      ),
    )
}

function send(c: AppContext, { bytes, etag }: Text, type: string, cacheControl: string): Response {
  const headers = { ETag: etag, 'Cache-Control': cacheControl }
  const ifNoneMatch = c.req.header('if-none-match')
  const verdict = checkConditions({ ifNoneMatch }, { etag, lastModified: new Date(0) })
  if (verdict === 'not-modified') return c.body(null, 304, headers)
  return c.body(new Uint8Array(bytes), 200, { ...headers, 'Content-Type': type })
}

/** What fails is tried again the next time. */
function once(make: () => Promise<Buffer>): () => Promise<Text> {
  let made: Promise<Text> | undefined
  return () => {
    made ??= make().then(
      (bytes) => ({ bytes, etag: `"sha256-${createHash('sha256').update(bytes).digest('base64url')}"` }),
      (error) => {
        made = undefined
        throw error
      },
    )
    return made
  }
}

/** Its own script runs and nothing else does. The script gives elements style attributes, which can run nothing. */
function pagePolicy(origins: string[]): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self' 'unsafe-inline'",
    `connect-src ${["'self'", ...origins].join(' ')}`,
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

function page(version: string, { document, viewer }: { document: string; viewer: string }): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
<title>Strongroom ${version}</title>
<script type="module" src="${viewer}"></script>
</head>
<body>
<openapi-explorer spec-url="${document}"></openapi-explorer>
</body>
</html>
`
}
