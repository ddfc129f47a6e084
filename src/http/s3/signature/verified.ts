import type { RequestContext } from '../../surface.ts'
import type { Payload } from './payload.ts'

// What a request's signature says of its body is found when it is asked who sends it, and needed when the body is read.

const payloads = new WeakMap<RequestContext, Payload>()

export function rememberPayload(request: RequestContext, payload: Payload): void {
  payloads.set(request, payload)
}

export function verifiedPayload(request: RequestContext): Payload | undefined {
  return payloads.get(request)
}
