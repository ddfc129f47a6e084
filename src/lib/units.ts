const BYTES = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9 } as const

/**
 * Reads `"5MB"` as 5 000 000: decimal multiples, any case, the number rounded to 3 significant digits
 * (wire §2.2). Plain digits are bytes, exactly. Returns null for anything else.
 */
export function parseByteSize(text: string): number | null {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  const match = /^(\d{1,15}(?:\.\d{1,15})?)\s*(gb|mb|kb|b)$/i.exec(text)
  if (!match?.[1] || !match[2]) return null
  const unit = BYTES[match[2].toLowerCase() as keyof typeof BYTES] // the pattern above allows no other
  const bytes = Math.round(Number(Number(match[1]).toPrecision(3)) * unit)
  return Number.isSafeInteger(bytes) ? bytes : null
}

/** As `13 B` or `1.2 MB`, in the units of `parseByteSize`. */
export function formatByteSize(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  for (const [unit, size] of [
    ['kB', BYTES.kb],
    ['MB', BYTES.mb],
  ] as const) {
    // What would be rounded to a thousand is one of the next unit.
    if (bytes / size < 999.5) return `${rounded(bytes / size)} ${unit}`
  }
  return `${rounded(bytes / BYTES.gb)} GB`
}

/** With one digit behind the point where there is one before it alone. */
function rounded(number: number): string {
  return number < 9.95 ? number.toFixed(1) : number.toFixed(0)
}

const MILLISECONDS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Reads `"5m"` as 300 000 milliseconds: a whole number of `ms`, `s`, `m`, `h` or `d`. Null for anything else. */
export function parseDuration(text: string): number | null {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text)
  if (!match?.[1] || !match[2]) return null
  const unit = MILLISECONDS[match[2] as keyof typeof MILLISECONDS] // the pattern above allows no other
  return Number(match[1]) * unit
}

/** What a timer of Node can wait, in milliseconds; a longer one would fire at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1
