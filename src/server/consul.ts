import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { z } from 'zod'
import type { Config } from '../config/config.ts'
import type { ConsulSettings } from '../config/consul.ts'
import { PUBLIC_PREFIX } from '../http/request-target.ts'
import { packageVersion } from '../lib/package-version.ts'

/** When it is told again, in milliseconds. */
interface Pace {
  /** An agent may have been started anew, and know nothing. */
  renewMs: number
  /** While it is away: doubled from the first to the last. */
  shortestMs: number
  longestMs: number
}

const PACE: Pace = { renewMs: 30_000, shortestMs: 1000, longestMs: 30_000 }

/** How long it may take for an answer. In milliseconds. */
const ANSWER_MS = 5000

/** The same of the last word: a stop does not depend on it. In milliseconds. */
const LAST_ANSWER_MS = 2000

/** What is below the prefix; Consul takes 512 characters. */
const ROUTES = '/object,/bucket,/upload/resumable,/s3,/events,/realtime/v1'

export interface ConsulOptions {
  settings: ConsulSettings
  service: Service
  logger: Logger
  pace?: Pace
}

/** Says in a Consul where a server is, for as long as that serves (its HTTP API, /v1/agent/service). */
export class Consul {
  readonly #settings: ConsulSettings
  readonly #service: Service
  readonly #logger: Logger
  readonly #pace: Pace
  readonly #closing = new AbortController()
  readonly #running: Promise<void>
  #isAway = false

  /** Begins at once, and goes on by itself: neither a start nor a request depends on Consul. */
  constructor({ settings, service, logger, pace = PACE }: ConsulOptions) {
    this.#settings = settings
    this.#service = service
    this.#logger = logger
    this.#pace = pace
    this.#running = this.#keep()
  }

  /** Takes the service out, so that nobody is sent here any more. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#running
    const path = `/v1/agent/service/deregister/${encodeURIComponent(this.#service.ID)}`
    await this.#put(path, undefined, AbortSignal.timeout(LAST_ANSWER_MS)).catch((err) => {
      this.#logger.warn({ err }, 'Consul was not told that this server stops; it finds out by itself')
    })
  }

  async #keep(): Promise<void> {
    const { signal } = this.#closing
    const { renewMs, shortestMs, longestMs } = this.#pace
    let waitMs = shortestMs
    while (!signal.aborted) {
      const isThere = await this.#register()
      const pauseMs = isThere ? renewMs : waitMs
      waitMs = isThere ? shortestMs : Math.min(2 * waitMs, longestMs)
      await delay(pauseMs, undefined, { signal }).catch(() => {})
    }
  }

  async #register(): Promise<boolean> {
    const { url } = this.#settings
    try {
      const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(ANSWER_MS)])
      await this.#put('/v1/agent/service/register?replace-existing-checks=true', this.#service, signal)
      if (this.#isAway) this.#logger.info({ url }, 'Consul is there again')
      this.#isAway = false
      return true
    } catch (err) {
      if (!this.#isAway && !this.#closing.signal.aborted) {
        this.#logger.warn({ err, url }, 'Consul could not be told where this server is; it is tried again')
        this.#isAway = true
      }
      return false
    }
  }

  async #put(path: string, body: object | undefined, signal: AbortSignal): Promise<void> {
    await ask(this.#settings, 'PUT', path, signal, body)
  }
}

/**
 * How many services of this name its agent knows, as far as the token may see: 0 before the first server has started.
 *
 * @throws what is wrong: nobody there, a token that is not taken, or no Consul
 */
export async function countRegistered(settings: ConsulSettings, signal: AbortSignal): Promise<number> {
  const filter = encodeURIComponent(`Service == "${settings.name}"`)
  const text = await ask(settings, 'GET', `/v1/agent/services?filter=${filter}`, signal)
  const services = z.record(z.string(), z.unknown()).safeParse(parsed(text))
  if (!services.success) throw new Error('it is no Consul: its answer is no list of services')
  return Object.keys(services.data).length
}

/** @returns the body of the answer @throws what is wrong, with what an agent says that refuses */
async function ask(
  { url, token }: ConsulSettings,
  method: 'GET' | 'PUT',
  path: string,
  signal: AbortSignal,
  body?: object,
): Promise<string> {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      ...(body && { 'Content-Type': 'application/json' }),
      ...(token !== undefined && { 'X-Consul-Token': token }),
    },
    ...(body && { body: JSON.stringify(body) }),
    redirect: 'error', // with the token
    signal,
  })
  const said = await response.text()
  if (!response.ok) throw new Error(`Consul answers ${response.status}: ${said.slice(0, 200)}`)
  return said
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** As Consul's agent takes it. */
interface Service {
  ID: string
  Name: string
  Address: string
  Port: number
  Meta: Record<string, string>
  Check: { HTTP: string; Interval: string; Timeout: string; DeregisterCriticalServiceAfter: string }
}

/** @param url where the server listens */
export function consulService(config: Config, { name, address }: ConsulSettings, url: string): Service {
  const { hostname: listens, port } = new URL(url)
  const host = address ?? publicHost(config) ?? (isEverywhere(listens) ? hostname() : bare(listens))
  return {
    // Several servers may be behind one public host.
    ID: `${name}-${hostname()}-${port}`,
    Name: name,
    Address: host,
    Port: Number(port),
    Meta: { version: packageVersion(), protocol: 'http', base_path: PUBLIC_PREFIX, routes: ROUTES },
    Check: {
      // Not /health, which asks for a token under STORAGE_COMPAT=supabase.
      HTTP: `http://${host.includes(':') ? `[${host}]` : host}:${port}/health/ready`,
      Interval: '10s',
      Timeout: '5s',
      DeregisterCriticalServiceAfter: '1m',
    },
  }
}

function publicHost({ publicUrl }: Config): string | undefined {
  return publicUrl === undefined ? undefined : bare(new URL(publicUrl).hostname)
}

/** URLs have brackets around an IPv6 address. */
function bare(host: string): string {
  return host.replace(/^\[|\]$/g, '')
}

function isEverywhere(host: string): boolean {
  return host === '0.0.0.0' || host === '[::]'
}
