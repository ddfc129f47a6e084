/** `text` for a message or a log: what could break a line or a terminal is escaped, 200 characters at most. */
export function printable(text: string): string {
  const head = [...text.slice(0, 400)].slice(0, 200).join('') // by code point: no pair is cut in half
  const escaped = head.replace(
    /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return head.length < text.length ? `${escaped}…` : escaped
}
