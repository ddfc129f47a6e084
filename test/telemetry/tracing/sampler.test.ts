import { ROOT_CONTEXT, SpanKind, TraceFlags, trace } from '@opentelemetry/api'
import { SamplingDecision } from '@opentelemetry/sdk-trace-base'
import { describe, expect, it } from 'vitest'
import { samplerOf } from '../../../src/telemetry/tracing/sampler.ts'

const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736'
const settings = { origin: '', protocol: 'http/protobuf' } as const

/** How many of so many requests are traced whose clients say that they trace them, or do not. */
function traced(sampler: ReturnType<typeof samplerOf>, count: number, traceFlags: TraceFlags): number {
  const parent = trace.setSpanContext(ROOT_CONTEXT, {
    traceId: TRACE_ID,
    spanId: '00f067aa0ba902b7',
    traceFlags,
    isRemote: true,
  })
  const decisions = Array.from(
    { length: count },
    () => sampler.shouldSample(parent, TRACE_ID, 'GET', SpanKind.SERVER, {}, []).decision,
  )
  return decisions.filter((decision) => decision === SamplingDecision.RECORD_AND_SAMPLED).length
}

describe('a client that says that it traces its requests', () => {
  it('is believed a hundred times a second where others are not traced', () => {
    let now = 0
    const sampler = samplerOf({ ...settings, sampler: 'parentbased_traceidratio', ratio: 0 }, () => now)
    expect(traced(sampler, 1000, TraceFlags.SAMPLED)).toBe(100)
    now += 500
    expect(traced(sampler, 1000, TraceFlags.SAMPLED)).toBe(50)
    now += 3_600_000
    expect(traced(sampler, 1000, TraceFlags.SAMPLED)).toBe(100)
  })

  it('is always believed where all are', () => {
    const sampler = samplerOf({ ...settings, sampler: 'parentbased_always_on', ratio: 1 }, () => 0)
    expect(traced(sampler, 1000, TraceFlags.SAMPLED)).toBe(1000)
  })

  it('changes nothing where nobody is asked', () => {
    const off = samplerOf({ ...settings, sampler: 'always_off', ratio: 1 }, () => 0)
    expect(traced(off, 10, TraceFlags.SAMPLED)).toBe(0)
    const on = samplerOf({ ...settings, sampler: 'always_on', ratio: 1 }, () => 0)
    expect(traced(on, 10, TraceFlags.NONE)).toBe(10)
  })
})

it('one that does not trace its request has it untraced', () => {
  const sampler = samplerOf({ ...settings, sampler: 'parentbased_always_on', ratio: 1 }, () => 0)
  expect(traced(sampler, 10, TraceFlags.NONE)).toBe(0)
})
