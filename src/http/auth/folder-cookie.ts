import { StorageError } from '../../model/errors.ts'
import type { SignedUrl } from '../../storage/links/signed-urls.ts'
import type { AppContext } from '../env.ts'
import { absoluteUrl, encodePath, type PublicAddress } from '../message/public-url.ts'

/** Browsers take one of such a name only with `Secure` (draft-ietf-httpbis-rfc6265bis, section 4.1.3). */
const NAME = '__Secure-strongroom-folder'

/** That are tried: a browser sends one for each folder above. */
const MOST_TRIED = 8

/** In characters; browsers take no cookie of more than 4096 (the same, section 5.6). */
const MAX_COOKIE = 4096

/** The tokens of signed folders that a browser has in its cookies, the innermost first. */
export function folderTokens(c: AppContext): string[] {
  const { cookie } = c.env.incoming.headers
  if (!cookie?.includes(NAME)) return []
  const tokens: string[] = []
  for (const pair of cookie.split(';')) {
    const [name, value] = pair.trim().split('=', 2)
    if (name === NAME && value) tokens.push(value)
    if (tokens.length === MOST_TRIED) break
  }
  return tokens
}

/**
 * Has the browser send the token for all below the folder, and for nothing else.
 *
 * @throws InvalidParameter when no browser would keep it
 */
export function setFolderCookie(
  c: AppContext,
  address: PublicAddress,
  signed: SignedUrl,
  seconds: number,
): void {
  const path = `/object/sign/${encodePath(signed.bucket)}/${encodePath(signed.name)}`
  const { pathname } = new URL(absoluteUrl(c, address, path))
  const cookie = `${NAME}=${signed.token}; Path=${pathname}; Max-Age=${seconds}; HttpOnly; Secure; SameSite=Lax`
  if (cookie.length > MAX_COOKIE) {
    throw new StorageError('InvalidParameter', {
      message:
        'What your token says of you is too much for a cookie: use the address with the token in its path',
    })
  }
  c.header('Set-Cookie', cookie)
}
