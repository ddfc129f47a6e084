import type { SignedUrl } from '../../storage/links/signed-urls.ts'
import type { AppContext } from '../env.ts'
import { absoluteUrl, encodePath, type PublicAddress } from '../message/public-url.ts'

/**
 * A link in both forms: relative, for storage-js to encode, and absolute (wire §3.11). It encodes neither `#`, so that
 * what follows would never be sent, nor less than the whole: both signs of the name are encoded before.
 */
export function signedJson(c: AppContext, address: PublicAddress, signed: SignedUrl) {
  const token = `?token=${signed.token}`
  const path = `/object/sign/${encodePath(signed.bucket)}/${encodePath(signed.name)}${token}`
  return {
    signedURL: `/object/sign/${signed.bucket}/${signed.name.replace(/[%#]/g, encodeURIComponent)}${token}`,
    url: absoluteUrl(c, address, path + expires(signed)),
    id: signed.id,
    expires_at: signed.expiresAt,
  }
}

/** For who has only the link: until when it works, in seconds since 1970. Another one than the token's is refused. */
export function expires({ expiresAt }: SignedUrl): string {
  return `&expires=${expiresAt.getTime() / 1000}`
}

/** The same of a folder, and with the token in its path. */
export function folderJson(c: AppContext, address: PublicAddress, signed: SignedUrl) {
  const { bucket, name, token } = signed
  const path = `/object/sign-path/${token}/${encodePath(bucket)}/${encodePath(name)}`
  return { ...signedJson(c, address, signed), path_url: absoluteUrl(c, address, path) }
}
