import { createHash, timingSafeEqual } from 'node:crypto'

/** Tells whether an `Authorization` header is this bearer token (RFC 6750 §2.1), in a time that says nothing about it. */
export function secretCheck(secret: string | undefined): (authorization: string | undefined) => boolean {
  if (secret === undefined) return () => false
  const expected = digest(secret)
  return (authorization) => {
    const [, given] = /^bearer +(\S+)$/i.exec(authorization ?? '') ?? []
    return given !== undefined && timingSafeEqual(digest(given), expected)
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
