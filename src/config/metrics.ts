import { host, integer, secret } from './fields.ts'
import { setting, type ValuesOf } from './setting.ts'

/** Who may read the server's metrics, and where. */
export type MetricsSettings = ValuesOf<typeof METRICS_TABLE>

export const METRICS_TABLE = {
  token: setting('STORAGE_METRICS_TOKEN', secret, {
    help: 'a bearer token that reads `/metrics` and nothing else, as the service key does; at least 32 characters',
  }),
  port: setting('STORAGE_METRICS_PORT', integer(0, 65_535), {
    help: 'a port of its own for `/metrics`, which asks for no token; see [Metrics](metrics.md)',
    example: '9209',
  }),
  host: setting('STORAGE_METRICS_HOST', host, {
    preset: '127.0.0.1',
    help: 'address of that port',
  }),
}

/** What is wrong with settings that are each right by themselves. @param mainPort STORAGE_PORT */
export function metricsContradictions({ port }: MetricsSettings, mainPort: number): string[] {
  if (port === undefined || port === 0 || port !== mainPort) return []
  return ['STORAGE_METRICS_PORT must be another one than STORAGE_PORT']
}
