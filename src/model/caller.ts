import { StorageError } from './errors.ts'

/** The roles that a token may name wherever Strongroom runs; STORAGE_JWT_ROLES adds to them (wire §1.3). */
export const STANDARD_ROLES = ['anon', 'authenticated', 'service_role']

/** Who asks, as a token proves it. */
export interface Identity {
  /** The database role: anon, authenticated, service_role, or one of STORAGE_JWT_ROLES. */
  role: string
  /** The token's `sub`, or null. Becomes `owner_id` of what is created. */
  subject: string | null
  claims: Record<string, unknown>
  /** The raw token, or '' without one. */
  token: string
  /** The S3 access key that has proven it instead of a token. */
  accessKey?: string
}

/** Who asks, and for what: everything PostgreSQL is told about a request (wire §7.5). */
export interface Caller extends Identity {
  /** Such as `storage.object.upload` (wire §3.2); policies may ask for it. */
  operation: string
  method: string
  /** With the query, without /storage/v1. */
  path: string
  headers: Record<string, unknown>
  /** Whether signed-in users may create buckets; a policy asks. */
  userBuckets: boolean
  /** By which others go on with the request's trace (https://www.w3.org/TR/trace-context/); undefined where it has none. */
  traceparent?: string | undefined
  /** Whether a signed URL lends him the service's rights: he speaks for who has signed it, and for nobody else. */
  isSigner?: boolean
  /** What he says of the version that he makes, where versions are kept; undefined: nothing. */
  versionComment?: string | undefined
}

/**
 * `public`: public buckets only, RLS skipped. `signed`: RLS skipped. `caller`: RLS, but a public bucket needs no
 * policy. `policy`: RLS. (wire §3.4)
 */
export type Access = 'public' | 'signed' | 'caller' | 'policy'

/** For what is the service's alone, whatever policies say. @throws RoleNotAllowed */
export function requireService({ role }: Pick<Identity, 'role'>): void {
  if (role !== 'service_role') throw new StorageError('RoleNotAllowed')
}
