import type { Logger } from 'pino'
import type { Config } from '../config/config.ts'
import type { Database } from '../database/connection/client.ts'
import type { ServingSession } from '../database/queries/serving-session.ts'
import type { Tracing } from '../telemetry/tracing/tracing.ts'
import { DeliveryCounts } from './delivery-counts.ts'
import type { NatsSink, NatsSinkOptions } from './nats/nats-sink.ts'
import { Outbox } from './outbox.ts'
import { type RunningSink, runSink } from './sink.ts'
import { Subscriptions } from './subscribers/subscriptions.ts'
import { syncSettingsWebhooks } from './webhooks/settings-webhooks.ts'
import { WebhookSinks } from './webhooks/webhook-sinks.ts'
import { Webhooks } from './webhooks/webhooks.ts'

/** All that reads the outbox, and the outbox. */
export interface Events {
  outbox: Outbox
  subscriptions: Subscriptions
  webhooks: Webhooks
  deliveries: { webhook: DeliveryCounts; nats: DeliveryCounts }
  /** Begins to hand out. */
  start(): void
  /** Ends it: subscribers leave, and what is on its way to a sink is waited for. The outbox goes on until then. */
  close(): Promise<void>
}

/** @throws DatabaseUnavailable */
export async function openEvents(parts: {
  config: Config
  database: Database
  session: ServingSession
  logger: Logger
  /** Undefined where nothing is traced. */
  tracing: Tracing | undefined
}): Promise<Events> {
  const { config, database, session, logger, tracing } = parts
  const outbox = new Outbox({ database, session, logger })
  const subscriptions = new Subscriptions({ database, outbox, logger })

  await syncSettingsWebhooks(database, config.webhooks.webhooks)
  const origin = { region: config.s3?.region ?? '', host: hostOf(config.publicUrl) }
  const deliveries = { webhook: new DeliveryCounts(), nats: new DeliveryCounts() }
  const counts = deliveries.webhook
  const webhookSinks = new WebhookSinks({
    ...config.webhooks,
    database,
    outbox,
    logger,
    origin,
    counts,
    tracing,
  })
  const webhooks = new Webhooks({ database, outbox, onChange: () => void webhookSinks.refresh() })

  const sinks: RunningSink[] = []
  const { nats: settings } = config
  const nats =
    settings && (await openNatsSink({ settings, database, outbox, logger, counts: deliveries.nats }))
  return {
    outbox,
    subscriptions,
    webhooks,
    deliveries,
    start: () => {
      outbox.start()
      webhookSinks.start()
      if (nats) sinks.push(runSink({ outbox, logger }, nats))
    },
    close: async () => {
      subscriptions.close()
      await Promise.all([webhookSinks.close(), ...sinks.map((sink) => sink.stop())])
    },
  }
}

/** NATS's own code is loaded when it is used. */
async function openNatsSink(options: NatsSinkOptions): Promise<NatsSink> {
  const { NatsSink } = await import('./nats/nats-sink.ts')
  return NatsSink.open(options)
}

function hostOf(publicUrl: string | undefined): string {
  return publicUrl === undefined ? '' : new URL(publicUrl).host
}
