import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { ObjectAttributes, SentAttributes } from '../../model/object-attributes.ts'
import { organizationOf } from '../../model/organization.ts'

/**
 * Whose an object is to be, and what it says of itself: its owner is who uploads it, and its organisation the one that his
 * token names, unless the service says otherwise.
 *
 * @throws AccessDenied when somebody else does
 */
export function belongingOf(
  caller: Caller,
  sent: SentAttributes,
): { ownerId: string | null; attributes: ObjectAttributes } {
  const own = organizationOf(caller.claims)
  const mayName = caller.role === 'service_role' && !caller.isSigner
  if (!mayName) {
    if (sent.ownerId !== undefined && sent.ownerId !== caller.subject) throw denied('user_id is not your own')
    if (sent.organizationId !== undefined && sent.organizationId !== own)
      throw denied('organization_id is not that of your token')
  }
  const { fileName, accessLevel, assetType, enableIndexing } = sent
  const organizationId = sent.organizationId ?? own
  return {
    ownerId: sent.ownerId ?? caller.subject,
    attributes: {
      ...(fileName !== undefined && { fileName }),
      ...(organizationId !== null && { organizationId }),
      ...(accessLevel !== undefined && { accessLevel }),
      ...(assetType !== undefined && { assetType }),
      ...(enableIndexing !== undefined && { enableIndexing }),
    },
  }
}

function denied(message: string): StorageError {
  return new StorageError('AccessDenied', { message })
}
