import type { TracingSettings } from '../../config/tracing.ts'
import type { Tracing } from './tracing.ts'

/**
 * Begins to trace, if that is wished. OpenTelemetry's code is loaded when it is used.
 *
 * @param onTrouble hears now and then why spans do not arrive
 */
export async function openTracing(
  settings: TracingSettings | undefined,
  onTrouble: (reason: string) => void,
): Promise<Tracing | undefined> {
  if (!settings) return undefined
  const { startTracing } = await import('./sdk.ts')
  return startTracing(settings, onTrouble)
}
