import type postgres from '#postgres'

/** What lets service_role into our tables where it has no BYPASSRLS (decision 0033). */
const POLICY = 'strongroom: the service does everything'

export interface ServiceRights {
  /** Whether no policy is asked about what it does. */
  bypasses: boolean
  /** Tables that are closed to it; none when it bypasses policies. */
  closed: { name: string; owner: string; isOurs: boolean }[]
  /** Restrictive policies of users', such as `"name" on storage.objects`, that bind it; none when it bypasses them. */
  boundBy: string[]
}

/** What service_role may do in the tables. Needs them, and the roles. */
export async function findServiceRights(sql: postgres.Sql): Promise<ServiceRights> {
  const [rights] = await sql<[ServiceRights]>`
    select r.rolbypassrls or r.rolsuper as bypasses,
      (
        select coalesce(json_agg(json_build_object('name', c.oid::regclass::text, 'owner', c.relowner::regrole::text,
          'isOurs', pg_has_role(c.relowner, 'usage')) order by c.relname), '[]')
        from pg_class c
        where not r.rolbypassrls and not r.rolsuper and c.relnamespace = 'storage'::regnamespace and c.relrowsecurity
          and has_table_privilege(r.oid, c.oid, 'select')
          and not exists (select from pg_policy p where p.polrelid = c.oid and p.polname = ${POLICY})
      ) as closed,
      array(
        select format('%I on %s', p.polname, c.oid::regclass) from pg_policy p join pg_class c on c.oid = p.polrelid
        where not r.rolbypassrls and not r.rolsuper and c.relnamespace = 'storage'::regnamespace and not p.polpermissive
          and exists (select from unnest(p.polroles) role where role = 0 or pg_has_role(r.oid, role, 'usage'))
        order by c.relname, p.polname
      ) as "boundBy"
    from pg_roles r where r.rolname = 'service_role'`
  return rights
}

/**
 * Lets service_role into those tables that are closed to it and the login's own, and says which remain.
 *
 * @returns undefined, or the sentence that says who may open them
 */
export async function letServiceIn(sql: postgres.Sql): Promise<string | undefined> {
  const { closed } = await findServiceRights(sql)
  if (closed.length === 0) return undefined
  const [first] = closed.filter((table) => !table.isOurs)
  if (first) return whoMayLetIn(first)
  await sql.begin(async (tx) => {
    for (const { name } of closed) {
      await tx.unsafe(`drop policy if exists "${POLICY}" on ${name}`) // another server's, of a moment ago
      await tx.unsafe(`create policy "${POLICY}" on ${name} to service_role using (true) with check (true)`)
    }
  })
  return undefined
}

/** What to do about a table that is closed. */
export function whoMayLetIn({ name, owner }: { name: string; owner: string }): string {
  return (
    `service_role has no BYPASSRLS here, and no policy lets it into ${name}. Run \`strongroom migrate\` once with ` +
    `DATABASE_URL naming ${owner}, who owns that: it makes one`
  )
}

/** What binds the service, and the server's own work with it; undefined when nothing does. */
export function whatBinds({ boundBy }: ServiceRights): string | undefined {
  if (boundBy.length === 0) return undefined
  return (
    'service_role has no BYPASSRLS here, so that restrictive policies bind it, and the server itself: ' +
    `${boundBy.join(', ')}. Let them be for anon and authenticated only (alter policy … to anon, authenticated)`
  )
}
