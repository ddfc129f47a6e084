import { vi } from 'vitest'
import { OtlpReceiver } from './otlp-receiver.ts'
import { PAIR } from './s3-protocol.ts'
import { type Ground, startTestServer, type TestServer } from './server.ts'

export interface Traced {
  server: TestServer
  collector: OtlpReceiver
  /** Of S3 clients, for a server that knows it (`WITH_PAIR`). */
  pair: typeof PAIR
  close(): Promise<void>
}

/** A server that sends its spans to a collector of the test's own. What the SDK reads it reads in the environment. */
export async function startTracedServer(
  env: Record<string, string> = {},
  ground: Ground = {},
): Promise<Traced> {
  const collector = await OtlpReceiver.listen()
  const settings = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: '20', ...env }
  for (const [name, value] of Object.entries(settings)) {
    if (name.startsWith('OTEL_')) vi.stubEnv(name, value)
  }
  const server = await startTestServer(settings, ground)
  return {
    server,
    collector,
    pair: PAIR,
    close: async () => {
      await server.close()
      await collector.close()
      vi.unstubAllEnvs()
    },
  }
}
