import type { S3KeyPair } from '../../../config/s3-protocol.ts'
import type { Identity } from '../../../model/caller.ts'

/** A pair of keys, and whose it is. */
export interface Credential {
  secret: string
  identity: Identity
}

/** The pairs with which requests may be signed. */
export interface Credentials {
  /** Null when there is none of this name. Without a promise where it need not be waited for. */
  find(accessKeyId: string): Credential | null | Promise<Credential | null>
}

/** One pair alone, which is the service role's. */
export function staticCredentials(pair: S3KeyPair): Credentials {
  const identity: Identity = {
    role: 'service_role',
    subject: null,
    claims: { role: 'service_role' },
    token: '',
  }
  return {
    find: (accessKeyId) =>
      accessKeyId === pair.accessKeyId ? { secret: pair.secretAccessKey, identity } : null,
  }
}
