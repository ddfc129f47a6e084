import type postgres from '#postgres'

/**
 * Runs SQL as a user would in a migration of theirs, then `work`, and takes away again every policy that is not
 * built in.
 */
export async function withPolicies<T>(admin: postgres.Sql, sql: string, work: () => Promise<T>): Promise<T> {
  try {
    await admin.unsafe(sql)
    return await work()
  } finally {
    await dropPolicies(admin)
  }
}

export async function dropPolicies(admin: postgres.Sql): Promise<void> {
  const policies = await admin<{ policyname: string; tablename: string }[]>`
    select policyname, tablename from pg_policies
    where schemaname = 'storage' and policyname not like 'strongroom: %'`
  for (const { policyname, tablename } of policies) {
    await admin`drop policy ${admin(policyname)} on storage.${admin(tablename)}`
  }
}
