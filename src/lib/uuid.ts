import { randomBytes } from 'node:crypto'

/** A UUID as `randomUUID` and PostgreSQL write it, in lower case. */
export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** A token's subject, where Supabase's old uuid column can hold it (wire §1.3). */
export function asUuid(subject: string | null): string | null {
  return subject !== null && UUID.test(subject.toLowerCase()) ? subject : null
}

/**
 * A new UUID that sorts by its time, to the millisecond (RFC 9562 §5.7).
 *
 * @param random 16 bytes; others than random ones make the same UUID of them again
 */
export function uuidV7(now = new Date(), random: Uint8Array = randomBytes(16)): string {
  const bytes = Buffer.from(random)
  bytes.writeUIntBE(now.getTime(), 0, 6)
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f)
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f)
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** The time of such a UUID, in milliseconds since 1970. */
export function timeOfUuidV7(uuid: string): number {
  return Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16)
}
