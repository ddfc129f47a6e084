/** In characters; file systems keep 255 bytes of a name, and the header carries it twice. */
const MAX_FILE_NAME = 255

/**
 * The `Content-Disposition` for the query parameter `download` (contract §3.5), undefined without it.
 *
 * The name is percent-encoded in both places, as Supabase has it, so no name can break out of the header.
 * What has no UTF-8 form becomes U+FFFD.
 */
export function contentDisposition(download: string | undefined): string | undefined {
  if (download === undefined) return undefined
  if (download === '') return 'attachment;'
  // By code point, so that no surrogate pair is cut in half.
  const name = [...download.slice(0, 2 * MAX_FILE_NAME)].slice(0, MAX_FILE_NAME).join('')
  const encoded = encodeURIComponent(name.replace(/\p{Cs}/gu, '\ufffd')).replace(/['()*]/g, percentEncoded)
  return `attachment; filename=${encoded}; filename*=UTF-8''${encoded}`
}

/** What `encodeURIComponent` leaves, though it may stand in neither place (RFC 8187 §3.2.1, RFC 9110 §5.6.2). */
function percentEncoded(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
}
