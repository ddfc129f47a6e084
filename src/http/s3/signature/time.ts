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

/** @throws RequestTimeTooSkewed naming both times */
export function refuseSkew(atMs: number, now: Date): void {
  if (Math.abs(atMs - now.getTime()) <= MAX_SKEW_MS) return
  const times = `the request says ${new Date(atMs).toISOString()}, the server ${now.toISOString()}`
  throw new StorageError('RequestTimeTooSkewed', {
    message: `The request's time is more than 15 minutes from the server's: ${times}`,
  })
}
