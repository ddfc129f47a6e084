/** Whether PostgreSQL can hold `text`: no NUL, and no surrogate without a partner, which has no UTF-8 form. */
export function isStorable(text: string): boolean {
  return !/[\0\p{Cs}]/u.test(text)
}

/** The same of all texts in JSON, names too. */
export function areStorable(value: unknown): boolean {
  if (typeof value === 'string') return isStorable(value)
  if (typeof value !== 'object' || value === null) return true
  return Object.entries(value).every(([name, inner]) => isStorable(name) && areStorable(inner))
}

/** The same of what is to be one line wherever it is shown: no control characters. */
export function isPlainText(text: string): boolean {
  return isStorable(text) && !/\p{Cc}/u.test(text)
}
