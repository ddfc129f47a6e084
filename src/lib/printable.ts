/** `text` for a message or a log: what could break a line or a terminal is escaped, `most` characters at most. */
export function printable(text: string, most = 200): string {
  const head = [...text.slice(0, 2 * most)].slice(0, most).join('') // by code point: no pair is cut in half
  const escaped = head.replace(
    /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return head.length < text.length ? `${escaped}…` : escaped
}
