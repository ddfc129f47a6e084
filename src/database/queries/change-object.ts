import type { UserMetadata } from '../../model/metadata.ts'
import type { AccessLevel, AssetType } from '../../model/object-attributes.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { Statement } from '../connection/statement.ts'

/** What is to be otherwise in an object's row, by the names of columns; what is absent stays. Null clears. */
export interface ObjectChanges {
  tags?: string[]
  user_metadata?: UserMetadata | null
  /** Laid over the user metadata that is there; null takes a name away. */
  merged_metadata?: UserMetadata
  file_name?: string | null
  access_level?: AccessLevel
  asset_type?: AssetType | null
  enable_indexing?: boolean
  auto_delete_after_days?: number | null
  /** Of the system metadata. */
  mimetype?: string
  cacheControl?: string
}

/** Which row is meant: that of a name, and no other by its id. */
export interface ChangedPlace {
  bucketId: string
  name: string
  id: string
}

/**
 * Changes what a visible object says of itself. Its version stays.
 *
 * @returns how long its user metadata is now, in bytes; null when the policies do not let it, or the row is another one
 */
export async function changeObject(
  tx: Transaction,
  place: ChangedPlace,
  changes: ObjectChanges,
): Promise<{ metadataBytes: number } | null> {
  const [row] = await tx.run(CHANGE, { ...place, changes: JSON.stringify(changes) })
  return row ? { metadataBytes: row.bytes ?? 0 } : null
}

const CHANGE = new Statement<ChangedPlace & { changes: string }, { bytes: number | null }>(`
  update storage.objects o set
    tags = case when c.json ? 'tags' then array(select jsonb_array_elements_text(c.json -> 'tags')) else o.tags end,
    user_metadata = case
      when c.json ? 'user_metadata' then nullif(c.json -> 'user_metadata', 'null')
      when c.json ? 'merged_metadata' then
        (case when jsonb_typeof(o.user_metadata) = 'object' then o.user_metadata else '{}' end || (c.json -> 'merged_metadata'))
        - array(select m.key from jsonb_each(c.json -> 'merged_metadata') m where m.value = 'null')
      else o.user_metadata
    end,
    file_name = case when c.json ? 'file_name' then c.json ->> 'file_name' else o.file_name end,
    access_level = coalesce(c.json ->> 'access_level', o.access_level),
    asset_type = case when c.json ? 'asset_type' then c.json ->> 'asset_type' else o.asset_type end,
    enable_indexing = coalesce((c.json ->> 'enable_indexing')::boolean, o.enable_indexing),
    auto_delete_after_days = case
      when c.json ? 'auto_delete_after_days' then (c.json ->> 'auto_delete_after_days')::integer
      else o.auto_delete_after_days
    end,
    metadata = case
      when c.json ?| array['mimetype', 'cacheControl'] then
        case when jsonb_typeof(o.metadata) = 'object' then o.metadata else '{}' end
        || jsonb_strip_nulls(jsonb_build_object('mimetype', c.json -> 'mimetype', 'cacheControl', c.json -> 'cacheControl'))
      else o.metadata
    end
  from (select :changes::jsonb as json) c
  where o.bucket_id = :bucketId and o.name = :name and o.id = :id
  returning octet_length(o.user_metadata::text) as bytes`)
