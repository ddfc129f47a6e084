import type { Config } from '../config/config.ts'
import type { NatsSettings } from '../config/nats.ts'
import type { OperationalState } from '../database/queries/metrics.ts'
import { printable } from '../lib/printable.ts'
import type { HealthChecks } from '../telemetry/health/health-checks.ts'
import type { PacedLook } from '../telemetry/metrics/paced-look.ts'
import type { Looks } from './looks.ts'

/** From when on somebody should look, as deploy/prometheus/alerts.yml has it. */
const MOST_LAG_SECONDS = 300
const LEAST_FREE_SHARE = 0.1

/** A look that is older says nothing any more. In seconds. */
const OLDEST_LOOK_SECONDS = 60

/** Among those that get events. */
const NATS = 'nats'

const NOT_SAID = 'The database does not say'

/** Adds what a server can go on without. Tables and disk are looked at as for metrics, and no more often. */
export function addOtherParts(
  checks: HealthChecks,
  { config, looks }: { config: Config; looks: Looks },
): void {
  const { nats, limits } = config
  if (nats) {
    checks.add('nats', async () => {
      const [trouble, state] = await Promise.all([
        natsTrouble(nats, limits.healthCheckMs),
        recent(looks.operations),
      ])
      return trouble ?? lagOf(state, (sink) => sink === NATS)
    })
  }
  checks.add('webhooks', async () => {
    const state = await recent(looks.operations)
    if (state && state.dead > 0) return `Events that have not reached their webhooks: ${state.dead}`
    return lagOf(state, (sink) => sink !== NATS)
  })
  checks.add('disk', async () => {
    const disk = await recent(looks.disk)
    if (!disk) return 'The disk does not answer'
    const free = disk.bavail / disk.blocks
    return free < LEAST_FREE_SHARE ? `Of the disk ${Math.floor(100 * free)} % are free` : null
  })
}

/** What was found, unless that is too long ago. */
async function recent<Found>(look: PacedLook<Found>): Promise<Found | undefined> {
  const { found, ageSeconds } = await look.find()
  return ageSeconds > OLDEST_LOOK_SECONDS ? undefined : found
}

function lagOf(state: OperationalState | undefined, isOne: (sink: string) => boolean): string | null {
  if (!state) return NOT_SAID
  const seconds = Math.max(0, ...state.lags.filter(({ sink }) => isOne(sink)).map((lag) => lag.seconds))
  return seconds > MOST_LAG_SECONDS ? `Events wait for ${Math.round(seconds)} s` : null
}

/** Whether it lets us in, whoever sends events there at the moment. */
async function natsTrouble(settings: NatsSettings, limitMs: number): Promise<string | null> {
  const { NatsConnection } = await import('../events/nats/nats-connection.ts') // loaded when it is used
  try {
    const connection = await NatsConnection.open(settings, AbortSignal.timeout(limitMs))
    await connection.close()
    return null
  } catch (error) {
    return `NATS cannot be used: ${printable(error instanceof Error ? error.message : String(error))}`
  }
}
