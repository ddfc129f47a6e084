import type { IncomingHttpHeaders } from 'node:http'
import { StorageError } from '../../model/errors.ts'
import type { Lock, NewLock } from '../../model/object-lock.ts'

/*
 * S3's words for locks (decision 0071). Of its two modes there is COMPLIANCE alone, which means what it says: GOVERNANCE is one
 * that a privilege takes off.
 */

/** How a new object is to be locked, by headers of its upload. @throws NotImplemented, InvalidParameter */
export function lockIn(headers: IncomingHttpHeaders): NewLock | undefined {
  const mode = headers['x-amz-object-lock-mode']?.toString()
  const until = headers['x-amz-object-lock-retain-until-date']?.toString()
  const hold = headers['x-amz-object-lock-legal-hold']?.toString()
  if (mode === undefined && until === undefined && hold === undefined) return undefined
  if (mode !== undefined) demandCompliance(mode)
  if ((mode === undefined) !== (until === undefined)) {
    const message = 'x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied'
    throw new StorageError('InvalidParameter', { message })
  }
  return {
    ...(until !== undefined && { retainUntil: parseMoment(until) }),
    ...(hold !== undefined && { legalHold: parseHold(hold) }),
  }
}

/** What GET and HEAD tell of a lock. */
export function lockHeaders({ canBeLocked, lockedUntil, legalHold }: Lock): Record<string, string> {
  if (!canBeLocked) return {}
  return {
    ...(lockedUntil !== null && {
      'x-amz-object-lock-mode': 'COMPLIANCE',
      'x-amz-object-lock-retain-until-date': lockedUntil.toISOString(),
    }),
    ...(legalHold && { 'x-amz-object-lock-legal-hold': 'ON' }),
  }
}

/** @throws NotImplemented for the other mode, InvalidParameter for a word that is none */
export function demandCompliance(mode: string | undefined): void {
  if (mode === 'COMPLIANCE') return
  if (mode !== 'GOVERNANCE') {
    throw new StorageError('InvalidParameter', { message: 'The mode of a lock must be COMPLIANCE' })
  }
  throw new StorageError('NotImplemented', {
    message: 'GOVERNANCE is not supported: a lock that a privilege takes off keeps nothing; use COMPLIANCE',
  })
}

/** @throws InvalidParameter */
export function parseHold(status: string | undefined): boolean {
  if (status === 'ON' || status === 'OFF') return status === 'ON'
  throw new StorageError('InvalidParameter', { message: 'A legal hold is ON or OFF' })
}

/** @throws InvalidParameter */
export function parseMoment(text: string | undefined): Date {
  const moment = new Date(text ?? '')
  if (/^\d{4}-\d\d-\d\d/.test(text ?? '') && !Number.isNaN(moment.getTime())) return moment
  throw new StorageError('InvalidParameter', {
    message: 'The date until which to retain must be in ISO 8601',
  })
}

/** @throws InvalidRequest as S3 says where nothing can be locked */
export function demandLockable({ canBeLocked }: Lock): void {
  if (canBeLocked) return
  throw new StorageError('InvalidRequest', { message: 'Bucket is missing Object Lock Configuration' })
}
