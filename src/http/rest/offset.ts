import { StorageError } from '../../model/errors.ts'
import type { Services } from '../services.ts'

/** Rows that a list passes over, at most: each costs as much as one that is shown. */
export const MOST_SKIPPED = 100_000

/** @throws InvalidParameter; under STORAGE_COMPAT=supabase only time bounds an offset */
export function checkOffset({ supabaseCompat }: Pick<Services, 'supabaseCompat'>, offset: number): void {
  if (supabaseCompat || offset <= MOST_SKIPPED) return
  throw new StorageError('InvalidParameter', {
    message: `offset must be at most ${MOST_SKIPPED}; POST /object/list-v2 goes on from a cursor, however far`,
  })
}
