import type { MigrationMeta } from 'drizzle-orm/migrator'
import type postgres from '#postgres'
import { whyForeign } from './foreign-schema.ts'
import { whyNoRoles } from './roles.ts'

/**
 * What keeps the login from migrating the database, and what to do, as the rest of a sentence; undefined when nothing is
 * known to. Only reads.
 *
 * @param pending how many of the migrations are to be made yet
 */
export async function findObstacle(
  sql: postgres.Sql,
  migrations: MigrationMeta[],
  pending: number,
): Promise<string | undefined> {
  const isNew = pending === migrations.length
  return (isNew ? await whyForeign(sql, migrations) : undefined) ?? (await whyNotOurs(sql)) ?? whyNoRoles(sql)
}

/** Why the login may not make what belongs to the database, or change what is there. */
async function whyNotOurs(sql: postgres.Sql): Promise<string | undefined> {
  const [found] = await sql<
    { login: string; database: string; owner: string; mayCreate: boolean; others: [string, string] | null }[]
  >`
    select current_user as login, datname as database, datdba::regrole::text as owner,
      has_database_privilege(oid, 'create') as "mayCreate",
      (
        select array[c.oid::regclass::text, c.relowner::regrole::text] from pg_class c
        where c.relnamespace in (to_regnamespace('storage'), to_regnamespace('strongroom')) and c.relkind in ('r', 'p')
          and not pg_has_role(c.relowner, 'usage')
        order by c.oid limit 1
      ) as others
    from pg_database where datname = current_database()`
  if (!found) return undefined
  const { login, database, owner, mayCreate, others } = found
  if (!mayCreate) {
    return (
      `the login ${login} may not create schemas in the database ${database}. Run \`strongroom migrate\` once with ` +
      `DATABASE_URL naming its owner, ${owner}, or another that may (create on the database)`
    )
  }
  if (!others) return undefined
  const [table, whose] = others
  return `${table} is not the login's, ${login}. Run \`strongroom migrate\` once with DATABASE_URL naming ${whose}, who owns it`
}
