import { createHash, createHmac } from 'node:crypto'

/*
 * What of signed URLs can be taken back together: each has some keys, and is over when one of them was taken back after it
 * was signed (decision 0075). An id has always the same length, so that no key looks like another's.
 */

/** What a signed URL is to those who may take it back. */
export interface LinkFacts {
  /** Undefined in tokens from before they had one. */
  id: string | undefined
  /** What was signed: `<bucket>/<name>`, or a folder, with a slash at its end. */
  url: string
  /** What it is used for: the same, or an object below the folder. */
  used: string
  /** Of `signerOf`; undefined when it was signed by nobody who has a subject. */
  signer: string | undefined
}

/** All signed URLs. */
export const EVERY_LINK = 'all'

/** One. @param url where only this one of them is meant: whoever takes it back knows of no other */
export function linkKey(id: string, url?: string): string {
  return url === undefined ? `link:${id}` : `link:${id}@${short(url)}`
}

/** All of an object, or of a folder as such. */
export function objectKey(url: string): string {
  return `object:${short(url)}`
}

/** In characters. An index takes 2704 bytes, and a path that is signed may have more. */
const MAX_URL = 512

/** What is no longer is itself. It has a slash, and a digest has none. */
function short(url: string): string {
  return url.length <= MAX_URL ? url : `sha256:${createHash('sha256').update(url).digest('base64url')}`
}

/** All of a signer. @param signer of `signerOf` */
export function signerKey(signer: string): string {
  return `signer:${signer}`
}

/** All that a signed URL has. */
export function keysOf({ id, url, used, signer }: LinkFacts): string[] {
  return [
    EVERY_LINK,
    objectKey(url),
    ...(used === url ? [] : [objectKey(used)]),
    ...(signer === undefined ? [] : [signerKey(signer)]),
    ...(id === undefined ? [] : [linkKey(id), linkKey(id, url)]),
  ]
}

/** In characters: 132 bits. */
const SIGNER_LENGTH = 22

/**
 * What a token says of who has signed it. Whoever reads the token learns neither the subject nor, without the secret, whether
 * it is somebody he thinks of.
 */
export function signerOf(subject: string, secret: string): string {
  const digest = createHmac('sha256', secret).update(`strongroom signed url signer\n${subject}`)
  return digest.digest('base64url').slice(0, SIGNER_LENGTH)
}
