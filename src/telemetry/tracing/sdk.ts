import { randomUUID } from 'node:crypto'
import { type DiagLogFunction, DiagLogLevel, diag } from '@opentelemetry/api'
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources'
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from '@opentelemetry/sdk-trace-base'
import type { TracingSettings } from '../../config/tracing.ts'
import { packageVersion } from '../../lib/package-version.ts'
import { printable } from '../../lib/printable.ts'
import { isSettledWithin } from '../../lib/settled-within.ts'
import { samplerOf } from './sampler.ts'
import { Tracing } from './tracing.ts'

/** As the log calls it; OTEL_SERVICE_NAME says otherwise. */
const SERVICE = 'file_storage'

/** Of a text in a span, in characters: names of objects may be longer, and thousands of spans may wait. */
const MAX_TEXT = 1024

/** So long the last spans are waited for: a collector that does not answer holds up no stop. In milliseconds. */
const CLOSE_MS = 3000

/** What lasts is told of again after so long. In milliseconds. */
const REMINDER_MS = 60_000

/** Of what is wrong with a collector, which may answer anything. In characters. */
const MAX_REASON = 300

/**
 * Spans by OpenTelemetry's SDK. They wait for the collector in a queue that has an end, and what finds it full is dropped.
 * What stands in the environment besides `settings` the SDK reads by itself.
 *
 * @param onTrouble hears now and then why spans do not arrive
 */
export async function startTracing(
  settings: TracingSettings,
  onTrouble: (reason: string) => void,
): Promise<Tracing> {
  tellTrouble(onTrouble)
  const own = resourceFromAttributes({
    'service.name': SERVICE,
    'service.version': packageVersion(),
    'service.instance.id': randomUUID(),
    'process.pid': process.pid,
  })
  const provider = new BasicTracerProvider({
    resource: defaultResource()
      .merge(own)
      .merge(detectResources({ detectors: [envDetector] })),
    sampler: samplerOf(settings),
    spanLimits: { attributeValueLengthLimit: MAX_TEXT },
    spanProcessors: [new BatchSpanProcessor(await exporterOf(settings))],
  })
  return new Tracing(provider.getTracer('strongroom', packageVersion()), async () => {
    const closing = provider.shutdown().then(
      () => true,
      () => false, // of which the trouble has been told
    )
    return (await isSettledWithin(closing, CLOSE_MS)) && closing
  })
}

async function exporterOf({ protocol }: TracingSettings): Promise<SpanExporter> {
  const { OTLPTraceExporter } =
    protocol === 'http/json'
      ? await import('@opentelemetry/exporter-trace-otlp-http')
      : await import('@opentelemetry/exporter-trace-otlp-proto')
  return new OTLPTraceExporter()
}

/** What the SDK says of itself goes where nobody looks, unless it is told otherwise. That is one place for a process. */
function tellTrouble(onTrouble: (reason: string) => void): void {
  let nextAt = 0
  const tell: DiagLogFunction = (message) => {
    if (performance.now() < nextAt) return
    nextAt = performance.now() + REMINDER_MS
    onTrouble(printable(reasonIn(message)).slice(0, MAX_REASON))
  }
  const ignore = () => {}
  const logger = { error: tell, warn: tell, info: ignore, debug: ignore, verbose: ignore }
  diag.setLogger(logger, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true })
}

/** An error comes as JSON, with its stack. */
function reasonIn(message: string): string {
  try {
    return String((JSON.parse(message) as { message?: unknown }).message ?? message)
  } catch {
    return message
  }
}
