import type { XmlElements } from './xml-writer.ts'

/** Whose is what nobody with a name has made. */
const SYSTEM = 'service_role'

/** An owner as S3 has one. @param ownerId the subject who made it; null for the system's */
export function ownerElement(ownerId: string | null): XmlElements {
  const id = ownerId ?? SYSTEM
  return { ID: id, DisplayName: id }
}
