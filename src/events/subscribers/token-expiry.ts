import type { Claimant } from '../../database/queries/events.ts'
import { LONGEST_TIMER_MS } from '../../lib/units.ts'

/** When a subscriber's token ends (RFC 7519 §4.1.4), in milliseconds since 1970; Infinity for one without an end. */
export function tokenExpiry({ claims }: Claimant): number {
  return typeof claims.exp === 'number' ? claims.exp * 1000 : Number.POSITIVE_INFINITY
}

/** Calls `end` at that moment. Returns what takes it back. */
export function atExpiry(expiresAt: number, end: () => void): () => void {
  let timer: NodeJS.Timeout
  const wait = () => {
    const leftMs = expiresAt - Date.now()
    if (leftMs <= 0) return end()
    timer = setTimeout(wait, Math.min(leftMs, LONGEST_TIMER_MS)).unref()
  }
  wait()
  return () => clearTimeout(timer)
}
