import type { Attributes, Context, Link, SpanKind } from '@opentelemetry/api'
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  ParentBasedSampler,
  type Sampler,
  SamplingDecision,
  type SamplingResult,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-base'
import type { TracingSettings } from '../../config/tracing.ts'

/**
 * Requests that are traced because a client says that it traces them, and that would not be otherwise: as many at once, and a
 * second, in each process. Anybody can say so.
 */
const BELIEVED = 100

/** Which traces are recorded, by the settings. @param now by `performance.now()` */
export function samplerOf({ sampler, ratio }: TracingSettings, now = () => performance.now()): Sampler {
  const [, ofParent, name] = /^(parentbased_)?(.+)$/.exec(sampler) ?? []
  const root =
    name === 'always_on'
      ? new AlwaysOnSampler()
      : name === 'always_off'
        ? new AlwaysOffSampler()
        : new TraceIdRatioBasedSampler(ratio)
  if (ofParent === undefined) return root
  return new ParentBasedSampler({ root, remoteParentSampled: new BelievedSampler(root, now) })
}

/** Believes a client, as far as there may be so many; decides as for one that says nothing otherwise. */
class BelievedSampler implements Sampler {
  readonly #otherwise: Sampler
  readonly #now: () => number
  #left = BELIEVED
  #filledAt: number

  constructor(otherwise: Sampler, now: () => number) {
    this.#otherwise = otherwise
    this.#now = now
    this.#filledAt = now()
  }

  shouldSample(
    context: Context,
    traceId: string,
    spanName: string,
    spanKind: SpanKind,
    attributes: Attributes,
    links: Link[],
  ): SamplingResult {
    const result = this.#otherwise.shouldSample(context, traceId, spanName, spanKind, attributes, links)
    if (result.decision === SamplingDecision.RECORD_AND_SAMPLED || !this.#take()) return result
    return { decision: SamplingDecision.RECORD_AND_SAMPLED }
  }

  #take(): boolean {
    const now = this.#now()
    this.#left = Math.min(BELIEVED, this.#left + ((now - this.#filledAt) / 1000) * BELIEVED)
    this.#filledAt = now
    if (this.#left < 1) return false
    this.#left--
    return true
  }

  toString(): string {
    return `BelievedSampler{${this.#otherwise}}`
  }
}
