import { randomUUID } from 'node:crypto'
import { inject } from 'vitest'
import { type Database, openDatabase } from '../../src/database/connection/client.ts'

export interface Cluster {
  /** A database without any migration. `options` go behind `create database`. Returns its name. */
  newDatabase(options?: string): Promise<string>
  /** A role that may log in and nothing else. Returns its name. */
  newLogin(): Promise<string>
  /** Where a database is, for the superuser or another login. */
  address(database: string, username?: string): Address
  /** A pool of connections. */
  open(database: string, username?: string): Database
  /** The superuser, in no database of a test's. */
  root: Database
  /** Closes what was opened and drops what was made. */
  close(): Promise<void>
}

interface Address {
  host: string
  port: number
  database: string
  username: string
}

/** The run's PostgreSQL, for tests that migrate databases themselves. */
export function openCluster(): Cluster {
  const { host, port, superuser } = inject('postgres')
  const root = openDatabase({ host, port, database: 'postgres', username: superuser }, { connections: 1 })
  const opened: Database[] = []
  const databases: string[] = []
  const logins: string[] = []
  const unique = (kind: string) => `${kind}_${randomUUID().replaceAll('-', '')}`
  const address = (database: string, username = superuser) => ({ host, port, database, username })
  return {
    root,
    address,
    newDatabase: async (options = '') => {
      const name = unique('blank')
      await root.sql.unsafe(`create database ${name} ${options}`)
      databases.push(name)
      return name
    },
    newLogin: async () => {
      const name = unique('login')
      await root.sql`create role ${root.sql(name)} login`
      logins.push(name)
      return name
    },
    open: (database, username) => {
      const pool = openDatabase(address(database, username), { connections: 3 })
      opened.push(pool)
      return pool
    },
    close: async () => {
      await Promise.all(opened.map((pool) => pool.close()))
      for (const name of databases) await root.sql`drop database ${root.sql(name)} with (force)`
      for (const name of logins) await root.sql`drop role ${root.sql(name)}`
      await root.close()
    },
  }
}
