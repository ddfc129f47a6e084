/** What of the past goes along: versions with their markers, and the trash. */
export interface Former {
  versions: boolean
  trash: boolean
}

export const ALL_FORMER: Former = { versions: true, trash: true }

/**
 * Which rows of `storage.object_versions` those are, as a condition. Of a bucket that can be locked all go along: whoever restores a
 * copy of the database could not take them out of it.
 */
export function whichFormer({ versions, trash }: Former): string {
  const kinds = [...(versions ? ['version', 'delete_marker'] : []), ...(trash ? ['trash'] : [])]
  return `(kind = any ('{${kinds}}') or exists (select from storage.buckets b where b.id = bucket_id and b.object_lock))`
}
