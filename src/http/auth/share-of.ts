import type { Identity } from '../../model/caller.ts'

/** Whose share something counts to; null is the service, which may have all. */
export function shareOf(
  { role, subject }: Pick<Identity, 'role' | 'subject'>,
  address: string,
): string | null {
  if (role === 'service_role') return null
  return subject === null ? `address ${address}` : `subject ${subject}`
}
