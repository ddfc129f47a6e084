/** A UUID as `randomUUID` and PostgreSQL write it, in lower case. */
export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** A token's subject, where Supabase's old uuid column can hold it (wire §1.3). */
export function asUuid(subject: string | null): string | null {
  return subject !== null && UUID.test(subject.toLowerCase()) ? subject : null
}
