import type { ShareRow } from '../../database/queries/shares.ts'

/** A share for its sharer: without its secret. */
export function shareFacts(share: ShareRow) {
  return {
    share_id: share.share_id,
    file_id: share.object_id,
    bucket: share.bucket,
    path: share.name,
    shared_by: share.shared_by,
    shared_with: share.shared_with,
    shared_with_email: share.shared_with_email,
    permissions: share.permissions,
    has_password: share.password_hash !== null,
    expires_at: new Date(share.expires_at),
    max_downloads: share.max_downloads,
    download_count: share.download_count,
    last_downloaded_at: share.last_downloaded_at && new Date(share.last_downloaded_at),
    is_active: share.is_active && share.seconds_left > 0,
    revoked_at: share.revoked_at && new Date(share.revoked_at),
    created_at: new Date(share.created_at),
    updated_at: new Date(share.updated_at),
  }
}
