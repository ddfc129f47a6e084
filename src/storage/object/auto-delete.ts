import { StorageError } from '../../model/errors.ts'

/** The most days after which an object can go by itself; the least is one (docs/versions.md). */
export const MAX_AUTO_DELETE_DAYS = 36_500

/**
 * After how many days an object goes by itself, as an upload says it.
 *
 * @throws InvalidRequest
 */
export function parseAutoDelete(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const days = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (days >= 1 && days <= MAX_AUTO_DELETE_DAYS) return days
  const message = `auto_delete_after_days must be a whole number from 1 to ${MAX_AUTO_DELETE_DAYS}`
  throw new StorageError('InvalidRequest', { message })
}
