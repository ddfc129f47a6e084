import { createServer, type Server } from 'node:http'
import type { Logger } from 'pino'
import { listen, tryToListen } from '../../http/http-server.ts'
import { METRICS_PATH } from '../../http/metrics/surface.ts'
import { type Scrape, TEXT_TYPE } from '../../telemetry/metrics/exposition.ts'

/** Prometheus, its spare, and somebody with a browser. */
const MOST_CONNECTIONS = 100

/** For all of a request, and for silence. In milliseconds. */
const TIMEOUT_MS = 10_000

/** Where it is said where to listen, for who reads why the server does not start. */
const SETTINGS = { setting: 'STORAGE_METRICS_PORT', hostSetting: 'STORAGE_METRICS_HOST' }

export interface MetricsPort {
  /** Such as `http://127.0.0.1:9209`. */
  url: string
  close(): Promise<void>
}

/** Tries whether it could listen there, as `tryToListen` does. @throws what `listen` would */
export async function tryMetricsPort({
  host,
  port,
}: {
  host: string
  port: number | undefined
}): Promise<void> {
  if (port === undefined) return
  await tryToListen({ host, port }).catch(naming)
}

/** A port for metrics alone, where nobody is asked who he is; null where there is to be none. @throws what `listen` does */
export async function openMetricsPort(
  { host, port }: { host: string; port: number | undefined },
  scrape: Scrape,
  logger: Logger,
): Promise<MetricsPort | null> {
  if (port === undefined) return null
  const limits = { requestTimeout: TIMEOUT_MS, headersTimeout: TIMEOUT_MS }
  const server = createServer(limits, ({ method = '', url = '' }, outgoing) => {
    if (url.split('?')[0] !== METRICS_PATH) {
      outgoing.writeHead(404).end()
    } else if (method !== 'GET' && method !== 'HEAD') {
      outgoing.writeHead(405, { Allow: 'GET, HEAD' }).end()
    } else {
      scrape().then(
        (text) => outgoing.writeHead(200, { 'Content-Type': TEXT_TYPE }).end(text),
        (error: unknown) => {
          logger.error({ err: error }, 'metrics could not be gathered')
          outgoing.writeHead(500).end()
        },
      )
    }
  })
  server.maxConnections = MOST_CONNECTIONS
  server.timeout = TIMEOUT_MS
  const url = await listen(server, { host, port }).catch(naming)
  return { url, close: () => closed(server) }
}

function naming(error: unknown): never {
  throw error instanceof Error ? Object.assign(error, SETTINGS) : error
}

function closed(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}
