const UNITS = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9 } as const

/**
 * Reads `"5MB"` as 5 000 000: decimal multiples, any case, the number rounded to 3 significant digits
 * (contract §2.2). Plain digits are bytes, exactly. Returns null for anything else.
 */
export function parseByteSize(text: string): number | null {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  const match = /^(\d{1,15}(?:\.\d{1,15})?)\s*(gb|mb|kb|b)$/i.exec(text)
  if (!match?.[1] || !match[2]) return null
  const unit = UNITS[match[2].toLowerCase() as keyof typeof UNITS] // the pattern above allows no other
  const bytes = Math.round(Number(Number(match[1]).toPrecision(3)) * unit)
  return Number.isSafeInteger(bytes) ? bytes : null
}

/** As `13 B` or `1.2 MB`, in the units of `parseByteSize`. */
export function formatByteSize(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  for (const [unit, size] of [
    ['kB', UNITS.kb],
    ['MB', UNITS.mb],
  ] as const) {
    // What would be rounded to a thousand is one of the next unit.
    if (bytes / size < 999.5) return `${rounded(bytes / size)} ${unit}`
  }
  return `${rounded(bytes / UNITS.gb)} GB`
}

/** With one digit behind the point where there is one before it alone. */
function rounded(number: number): string {
  return number < 9.95 ? number.toFixed(1) : number.toFixed(0)
}
