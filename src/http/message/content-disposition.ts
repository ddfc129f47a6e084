/** In characters; file systems keep 255 bytes of a name. */
const MAX_FILE_NAME = 255

/** In characters. The header carries it twice, and proxies keep all headers in one buffer, which nginx gives 4 KiB. */
const MAX_ENCODED = 1500

/**
 * The `Content-Disposition` for the query parameter `download` (wire §3.5), or what a link says.
 *
 * The name is percent-encoded in both places, as Supabase has it, so no name can break out of the header.
 * What has no UTF-8 form becomes U+FFFD.
 */
export function contentDisposition(download: string, type: 'attachment' | 'inline' = 'attachment'): string {
  if (download === '') return type === 'inline' ? type : 'attachment;'
  // By code point, so that no surrogate pair is cut in half.
  const name = [...download.slice(0, 2 * MAX_FILE_NAME)].slice(0, MAX_FILE_NAME)
  let encoded = ''
  for (const character of name.map(percentEncoded)) {
    if (encoded.length + character.length > MAX_ENCODED) break
    encoded += character
  }
  return `${type}; filename=${encoded}; filename*=UTF-8''${encoded}`
}

/** Also what `encodeURIComponent` leaves, though it may stand in neither place (RFC 8187 §3.2.1, RFC 9110 §5.6.2). */
function percentEncoded(character: string): string {
  if (/['()*]/.test(character)) return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
  return encodeURIComponent(character.replace(/\p{Cs}/u, '\ufffd'))
}
