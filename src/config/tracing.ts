import { z } from 'zod'
import { webUrl } from './fields.ts'
import { setting, type ValuesOf } from './setting.ts'

/** Where spans are sent, and which; the exporter reads its endpoint, its headers and so on by itself (docs/tracing.md). */
export interface TracingSettings {
  /** Of the collector, for words: without a path, or a login. */
  origin: string
  protocol: Protocol
  sampler: Sampler
  /** The part of traces that a sampler by ratio takes, 0 to 1. */
  ratio: number
}

const PROTOCOLS = ['http/protobuf', 'http/json'] as const
type Protocol = (typeof PROTOCOLS)[number]

/** https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#general-sdk-configuration */
const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const
type Sampler = (typeof SAMPLERS)[number]

/**
 * Names and meanings are OpenTelemetry's. What is not for us may say anything as long as nothing is traced: these variables
 * are often set for a whole machine.
 */
export const TRACING_TABLE = {
  endpoint: setting('OTEL_EXPORTER_OTLP_ENDPOINT', webUrl, {
    help: 'a collector that takes OTLP by HTTP: traces go to `/v1/traces` there; see [Tracing](tracing.md)',
    example: 'http://127.0.0.1:4318',
  }),
  tracesEndpoint: setting('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', webUrl, {
    help: 'the whole address for traces, instead of that',
    example: 'http://127.0.0.1:4318/v1/traces',
  }),
  protocol: setting('OTEL_EXPORTER_OTLP_PROTOCOL', z.string(), {
    preset: 'http/protobuf',
    help: 'or `http/json`',
  }),
  tracesProtocol: setting('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', z.string(), {
    shown: '`OTEL_EXPORTER_OTLP_PROTOCOL`',
    help: 'the same for traces alone',
    example: 'http/protobuf',
  }),
  exporter: setting('OTEL_TRACES_EXPORTER', z.string(), {
    preset: 'otlp',
    help: '`none`: nothing is traced, whatever the endpoint',
  }),
  sampler: setting('OTEL_TRACES_SAMPLER', z.string(), {
    preset: 'parentbased_always_on',
    help: `which requests are traced: ${SAMPLERS.map((name) => `\`${name}\``).join(', ')}`,
  }),
  samplerArg: setting('OTEL_TRACES_SAMPLER_ARG', z.string(), {
    preset: '1',
    help: 'the part of them, 0 to 1, where the sampler goes by ratio',
  }),
  disabled: setting(
    'OTEL_SDK_DISABLED',
    z.string().transform((text) => text.toLowerCase() === 'true'),
    { preset: 'false', help: '`true`: nothing is traced' },
  ),
}

type Values = ValuesOf<typeof TRACING_TABLE>

/** What is wrong with these settings, if they are to be heeded. */
export function tracingContradictions(values: Values): string[] {
  if (!isTracing(values)) return []
  const problems: string[] = []
  if (!isOneOf(PROTOCOLS, protocolOf(values))) {
    const name = values.tracesProtocol === undefined ? 'PROTOCOL' : 'TRACES_PROTOCOL'
    problems.push(
      `OTEL_EXPORTER_OTLP_${name} must be ${PROTOCOLS.join(' or ')}: collectors take that at port 4318`,
    )
  }
  if (!['otlp', 'none'].includes(values.exporter)) {
    problems.push('OTEL_TRACES_EXPORTER must be otlp or none')
  }
  if (!isOneOf(SAMPLERS, values.sampler)) {
    problems.push(`OTEL_TRACES_SAMPLER must be one of ${SAMPLERS.join(', ')}`)
  }
  const ratio = Number(values.samplerArg)
  if (values.sampler.endsWith('ratio') && !(ratio >= 0 && ratio <= 1)) {
    problems.push('OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1')
  }
  return problems
}

/** Undefined where nothing is traced. @param values in which nothing is wrong */
export function tracingSettings(values: Values): TracingSettings | undefined {
  const url = values.tracesEndpoint ?? values.endpoint
  if (!isTracing(values) || url === undefined) return undefined
  return {
    origin: new URL(url).origin,
    protocol: protocolOf(values) as Protocol,
    sampler: values.sampler as Sampler,
    ratio: Number(values.samplerArg),
  }
}

function isTracing({ endpoint, tracesEndpoint, exporter, disabled }: Values): boolean {
  return (endpoint ?? tracesEndpoint) !== undefined && exporter !== 'none' && !disabled
}

function protocolOf({ protocol, tracesProtocol }: Values): string {
  return tracesProtocol ?? protocol
}

function isOneOf(known: readonly string[], text: string): boolean {
  return known.includes(text)
}
