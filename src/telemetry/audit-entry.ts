import { isStorable } from '../lib/storable-text.ts'

/** What was done, or tried. */
export type AuditAction =
  | ObjectAction
  | 'create'
  | 'empty'
  | 'replay'
  | 'restore'
  | 'lock'
  /** Signed URLs were taken back. */
  | 'revoke'
  | 'share'
  | 'share_access'
  /** By an operator alone, in SQL (drizzle/functions/locks.sql). */
  | 'unlock'
  /** What a lifecycle policy says, now. */
  | 'run'
  /** By the service alone: what it has looked at. */
  | 'read'
  /** Entries of reads that there was no room for; `repeated` says how many. */
  | 'dropped'

type ObjectAction = 'download' | 'access' | 'upload' | 'update' | 'delete' | 'move' | 'copy'

export type AuditedResource =
  | 'object'
  | 'bucket'
  | 'webhook'
  | 'credential'
  | 'backup'
  | 'lifecycle'
  | 'share'
  | 'event'
  | 'audit'

/** An entry of the audit log, under the names of its columns (docs/audit.md). What is not there is null. */
export interface AuditEntry {
  /** ISO 8601. */
  at: string
  id: string
  action: AuditAction
  resource_type: AuditedResource
  resource_id?: string | undefined
  user_id?: string | undefined
  role?: string | undefined
  file_id?: string | undefined
  bucket?: string | undefined
  path?: string | undefined
  target?: string | undefined
  allowed: boolean
  status: number
  bytes?: number | undefined
  address?: string | undefined
  user_agent?: string | undefined
  request_id?: string | undefined
  via?: string | undefined
  credential?: string | undefined
  /** So many more like this one have no entry of their own. */
  repeated: number
}

/** In characters; no legal name is longer (wire §3.1). */
const LONGEST = 1024

/** A text of a client's as PostgreSQL takes it, and not too long. */
export function auditText(text: string | null | undefined): string | undefined {
  if (text === null || text === undefined) return undefined
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text
  return isStorable(cut) ? cut : cut.replaceAll(/[\0\p{Cs}]/gu, '\ufffd')
}
