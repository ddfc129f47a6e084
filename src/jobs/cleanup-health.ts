import type { OrphanCleanup } from './orphan-cleanup.ts'

/** From when on somebody should look, in intervals, as deploy/prometheus/alerts.yml has it. */
const MOST_INTERVALS = 3

/** What is wrong with the cleanup that a server makes by itself. @param since when it was started */
export function cleanupTrouble(
  { last, skippedAt }: Pick<OrphanCleanup, 'last' | 'skippedAt'>,
  { intervalMs, since }: { intervalMs: number; since: Date },
  now = new Date(),
): string | null {
  const held = last?.held ?? 0
  if (held > 0) return `Buckets that it leaves alone, as too much of them seems to be lost: ${held}`
  // Another server that is at it by then says by itself whether it gets on.
  const latest = Math.max(...[since, last?.at, skippedAt].map((at) => at?.getTime() ?? 0))
  const late = now.getTime() - latest > MOST_INTERVALS * intervalMs
  return late ? `No pass has come to its end since ${new Date(latest).toISOString()}` : null
}
