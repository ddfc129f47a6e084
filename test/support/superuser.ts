import { join } from 'node:path'
import postgres from '#postgres'

/** Runs `work` with a session of the superuser's in the embedded database of a data folder. */
export async function asSuperuser<T>(
  dataDir: string,
  work: (sql: postgres.Sql) => Promise<T>,
  cluster = 'postgres',
): Promise<T> {
  const host = join(dataDir, cluster)
  const address = { host, port: 5432, database: 'strongroom', username: 'postgres', pass: '' }
  const sql = postgres({ ...address, max: 1, fetch_types: false, connection: { application_name: 'test' } })
  try {
    return await work(sql)
  } finally {
    await sql.end({ timeout: 5 })
  }
}
