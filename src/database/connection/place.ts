import type { Room } from './room.ts'

/** Where a PostgreSQL is, and who logs in: a URL, or the embedded one's socket. */
export type DatabaseAddress = string | { host: string; port: number; database: string; username: string }

/** An address, and what answers there (decision 0029). */
export interface Endpoint {
  address: DatabaseAddress
  /**
   * Whether it is a pooler that does not make sessions as we ask for them. Nothing outlives a transaction there, except
   * in a session that was seen to be kept.
   */
  isPooler: boolean
}

/** One database, by two ways that may be the same. */
export interface DatabasePlace {
  /** For transactions. */
  transactions: Endpoint
  /** For what lives as long as a session does: locks, LISTEN, migrations. */
  sessions: Endpoint
  /** The most connections of a process, by what PostgreSQL allows; as many as it likes when left out. */
  room?: Room
}

/** PostgreSQL itself, for all. */
export function directly(address: DatabaseAddress): DatabasePlace {
  const endpoint = { address, isPooler: false }
  return { transactions: endpoint, sessions: endpoint }
}
