import { StorageError } from '../../../model/errors.ts'

/** How far a client's clock may be from ours, as with S3. In milliseconds. */
const MAX_SKEW_MS = 15 * 60_000

const BASIC = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/

/** The moment that a time such as `20130524T000000Z` names, in milliseconds; NaN for what is none. */
export function parseSignedTime(text: string): number {
  const parts = BASIC.exec(text)
  if (!parts) return Number.NaN
  const [year = 0, month = 1, day = 0, hours = 0, minutes = 0, seconds = 0] = parts.slice(1).map(Number)
  return Date.UTC(year, month - 1, day, hours, minutes, seconds)
}

/** The spelling that is signed. */
export function signedTime(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`
}

/**
 * Refuses what was not signed now, or has expired.
 *
 * @param at as it was signed
 * @param expiresInSeconds how long it holds, if it was signed beforehand
 * @throws AccessDenied when it is no time; RequestTimeTooSkewed, ExpiredToken, naming both times
 */
export function refuseOtherTimes(at: string, expiresInSeconds: number | undefined, now: Date): void {
  const atMs = parseSignedTime(at)
  if (Number.isNaN(atMs)) {
    throw new StorageError('AccessDenied', { message: 'The time of a signature must be as 20130524T000000Z' })
  }
  const aheadMs = atMs - now.getTime()
  if (aheadMs > MAX_SKEW_MS || (expiresInSeconds === undefined && -aheadMs > MAX_SKEW_MS)) {
    const [theirs, ours] = [new Date(atMs), now].map((time) => time.toISOString())
    throw new StorageError('RequestTimeTooSkewed', {
      message: `The request's time, ${theirs}, is more than 15 minutes from the server's, ${ours}`,
    })
  }
  if (expiresInSeconds !== undefined && -aheadMs > expiresInSeconds * 1000) {
    const until = new Date(atMs + expiresInSeconds * 1000)
    throw new StorageError('ExpiredToken', {
      message: `The request was good until ${until.toISOString()}, and it is ${now.toISOString()}`,
    })
  }
}
