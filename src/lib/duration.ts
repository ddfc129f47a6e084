const UNITS_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Reads `"5m"` as 300 000 milliseconds: a whole number of `ms`, `s`, `m`, `h` or `d`. Null for anything else. */
export function parseDuration(text: string): number | null {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text)
  if (!match?.[1] || !match[2]) return null
  const unit = UNITS_MS[match[2] as keyof typeof UNITS_MS] // the pattern above allows no other
  return Number(match[1]) * unit
}

/** What a timer of Node can wait, in milliseconds; a longer one would fire at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1
