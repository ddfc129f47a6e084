/**
 * The bytes of a base64url text, null unless it is their one spelling: no padding, no white space, no unused bits set
 * (RFC 4648 §3.3, §3.5, §5). Node passes over all that, so one token would have many texts.
 */
export function fromBase64url(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : null
}
