import type { Config } from '../../config/config.ts'
import type { ConsulSettings } from '../../config/consul.ts'
import type { NatsSettings } from '../../config/nats.ts'
import type { TracingSettings } from '../../config/tracing.ts'
import type { WebhookValues } from '../../config/webhook-fields.ts'
import { asService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { listWebhooks } from '../../database/queries/webhooks.ts'
import type { ConnectorOptions } from '../../events/webhooks/connector.ts'
import { HostLookup } from '../../events/webhooks/host-lookup.ts'
import { countKeys } from '../../http/auth/remote-keys.ts'
import { printable } from '../../lib/printable.ts'
import type { CheckResult } from '../../model/check-result.ts'
import { countRegistered } from '../../server/consul.ts'
import { withinTime } from './within-time.ts'

/** For a connection, and for what is asked on it. In milliseconds. */
const ANSWER_LIMIT_MS = 10_000

/** In milliseconds; the calls themselves give up before. */
const LAST_LIMIT_MS = 30_000

/**
 * Whether those can be reached that a server with these settings talks to besides database and store. They are asked
 * nothing that they would act on.
 *
 * @param database for the webhooks that were made by the routes; without it those of the settings are looked at alone
 */
export async function* checkOutside(
  config: Config,
  database: Database | undefined,
): AsyncGenerator<CheckResult> {
  const { jwksUrl } = config.jwt
  if (jwksUrl !== undefined) {
    yield* withinTime(checkKeySet(jwksUrl), LAST_LIMIT_MS, 'key set', 'STORAGE_JWKS_URL')
  }
  if (config.nats) yield* withinTime(checkNats(config.nats), LAST_LIMIT_MS, 'NATS', 'STORAGE_NATS_URL')
  if (config.consul) {
    yield* withinTime(checkConsul(config.consul), LAST_LIMIT_MS, 'Consul', 'STORAGE_CONSUL_URL')
  }
  if (config.traces) {
    yield* withinTime(checkCollector(config.traces), LAST_LIMIT_MS, 'traces', 'OTEL_EXPORTER_OTLP_ENDPOINT')
  }
  const webhooks = checkWebhooks(config.webhooks.webhooks, database)
  yield* withinTime(webhooks, LAST_LIMIT_MS, 'webhook', 'the webhooks')
}

async function* checkKeySet(url: string): AsyncGenerator<CheckResult> {
  const about = 'key set'
  const { origin, pathname } = new URL(url) // what else it has may be secret
  try {
    const count = await countKeys(url, AbortSignal.timeout(ANSWER_LIMIT_MS))
    const says = `${count} ${count === 1 ? 'key' : 'keys'} at ${origin}${pathname}`
    if (count > 0) yield { about, state: 'ok', says }
    else yield { about, state: 'failed', says: `${says}: no token can be verified; look at STORAGE_JWKS_URL` }
  } catch (error) {
    const says = `${origin}${pathname} has no key set: ${trouble(error)}; look at STORAGE_JWKS_URL`
    yield { about, state: 'failed', says }
  }
}

async function* checkNats(settings: NatsSettings): AsyncGenerator<CheckResult> {
  const about = 'NATS'
  const servers = settings.servers.join(', ')
  try {
    const { NatsConnection } = await import('../../events/nats/nats-connection.ts') // loaded when it is used
    const connection = await NatsConnection.open(settings, AbortSignal.timeout(ANSWER_LIMIT_MS))
    await connection.close()
    yield {
      about,
      state: 'ok',
      says: `reached: ${servers}; subjects ${settings.prefix}.object.created and so on`,
    }
  } catch (error) {
    const says = `${servers} cannot be used: ${trouble(error)}; look at STORAGE_NATS_URL and STORAGE_NATS_CREDENTIALS`
    yield { about, state: 'failed', says }
  }
}

async function* checkConsul(settings: ConsulSettings): AsyncGenerator<CheckResult> {
  const about = 'Consul'
  const { origin, pathname } = new URL(settings.url)
  const where = `${origin}${pathname === '/' ? '' : pathname}`
  try {
    const count = await countRegistered(settings, AbortSignal.timeout(ANSWER_LIMIT_MS))
    // Whether the token may write cannot be asked without writing.
    yield { about, state: 'ok', says: `reached: ${where}; it knows ${count} of ${settings.name}` }
  } catch (error) {
    const says = `${where} cannot be used: ${trouble(error)}; look at STORAGE_CONSUL_URL and STORAGE_CONSUL_TOKEN`
    yield { about, state: 'failed', says }
  }
}

/** A warning at most: a server does without its collector. */
async function* checkCollector({ origin, protocol, sampler }: TracingSettings): AsyncGenerator<CheckResult> {
  const about = 'traces'
  try {
    const answer = await fetch(origin, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) })
    await answer.body?.cancel()
    yield {
      about,
      state: 'ok',
      says: `go to ${origin} by ${protocol}, as ${sampler} chooses; nothing was sent`,
    }
  } catch (error) {
    const says = `${origin} cannot be reached: ${trouble(error)}; look at OTEL_EXPORTER_OTLP_ENDPOINT`
    yield { about, state: 'warning', says }
  }
}

async function* checkWebhooks(
  ofSettings: WebhookValues[],
  database: Database | undefined,
): AsyncGenerator<CheckResult> {
  const known = database ? await asService(database, listWebhooks) : []
  // Those of the settings get into the database at the start of a server.
  const ofRoutes = known.filter(({ source }) => source === 'api')
  const webhooks = [...ofSettings, ...ofRoutes]
  if (webhooks.length === 0) return
  const { connectionTrouble } = await import('../../events/webhooks/sender.ts') // loaded when it is used
  const hosts = new HostLookup()
  for (const { url, allowPrivate } of webhooks) {
    const { origin } = new URL(url) // receivers have secrets in their paths
    const failure = await connect(new URL(url), { hosts, allowPrivate, timeoutMs: ANSWER_LIMIT_MS }).then(
      () => undefined,
      connectionTrouble,
    )
    yield failure === undefined
      ? { about: 'webhook', state: 'ok', says: `${origin} can be reached; nothing was sent` }
      : { about: 'webhook', state: 'failed', says: `${origin} ${failure}` }
  }
}

/** Connects as for an event, with TLS where there is to be, and ends the connection. */
async function connect(url: URL, options: ConnectorOptions): Promise<void> {
  const { connector } = await import('../../events/webhooks/connector.ts') // loaded when it is used
  const { protocol, hostname, port } = url
  const to = {
    protocol,
    hostname: hostname.replace(/^\[|\]$/g, ''),
    port: port || DEFAULT_PORT[protocol] || '',
  }
  return new Promise((resolve, reject) => {
    connector(options)(to, (error, socket) => {
      socket?.destroy()
      if (error) reject(error)
      else resolve()
    })
  })
}

const DEFAULT_PORT: Record<string, string> = { 'http:': '80', 'https:': '443' }

/** What `fetch` and the client of NATS say, which may have the reason within. */
function trouble(error: unknown): string {
  const { name, message, cause } = error as Error
  if (name === 'TimeoutError') return 'it does not answer in time'
  return printable(cause instanceof Error ? cause.message : message)
}
