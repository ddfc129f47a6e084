import type postgres from '#postgres'
import { STANDARD_ROLES } from '../../model/caller.ts'

/** What the server's login is a member of: it may become each caller, and owns nothing. Embedded, it is that login. */
export const SERVER_ROLE = 'strongroom_server'

const ROLES = [...STANDARD_ROLES, SERVER_ROLE]

/** How many logins are named to somebody who needs one of them. */
const NAMED = 3

/** How often the roles are made again, when another database's migration changes them at the same moment. */
const ATTEMPTS = 5

/** What keeps the login from making the roles, and how that is changed; undefined when nothing does. Only reads. */
export async function whyNoRoles(sql: postgres.Sql): Promise<string | undefined> {
  const { login, missing, mayCreate } = await findRoles(sql)
  if (missing.length > 0 && !mayCreate) {
    const who = await named(sql, sql`rolcreaterole or rolsuper`)
    return (
      `the login ${login} may not create the role ${missing.join(', ')}. Run \`strongroom migrate\` once with ` +
      `DATABASE_URL naming a login that may (createrole)${who && `, such as ${who}`}`
    )
  }
  const lacking = (await lackingGrants(sql)).filter((grant) => !grant.isOurs)
  // Who may become the server's role may become all that this may.
  const grant = lacking.find(isToServer) ?? lacking.find(isOfServer)
  return (
    grant &&
    `the login ${login} may not grant ${grant.role}. ${await whatToRun(sql, grant.role, grant.member)}`
  )
}

/** The sentence that gives a membership, and who may run it. The role must exist. */
export async function whatToRun(sql: postgres.Sql, role: string, member: string): Promise<string> {
  const who = await named(
    sql,
    sql`pg_has_role(oid, ${role}, 'member with admin option') or (rolcreaterole and ${isBefore16(sql)})`,
  )
  const [row] = await sql`select pg_has_role(${member}, ${role}, 'member') as "isMember"`
  return `Run${who && ` as ${who}`}: ${statement({ role, member, isMember: row?.isMember === true })}`
}

/**
 * Makes the roles that are missing, and the memberships. The first migration would, too, and leaves alone what is there:
 * it asks for BYPASSRLS, which a managed PostgreSQL does not give (decision 0033), and knows nothing of memberships
 * without SET, which is what the maker of a role has from PostgreSQL 16 on.
 *
 * @throws PostgresError where `whyNoRoles` has an answer
 */
export async function makeRoles(sql: postgres.Sql): Promise<void> {
  for (let left = ATTEMPTS; ; left--) {
    try {
      await makeMissing(sql)
      return
    } catch (error) {
      if (left === 1 || !COINCIDENCES.has((error as postgres.PostgresError).code)) throw error
    }
  }
}

/** Whether memberships have no SET option: then every member may become the role. */
export function isBefore16(sql: postgres.Sql) {
  return sql`current_setting('server_version_num')::int < 160000`
}

/** duplicate_object, unique_violation, and "tuple concurrently updated", which has no code of its own. */
const COINCIDENCES = new Set(['42710', '23505', 'XX000'])

async function makeMissing(sql: postgres.Sql): Promise<void> {
  const { missing, mayBypass } = await findRoles(sql)
  for (const role of missing) {
    const bypasses = role === 'service_role' && mayBypass
    const attributes = role === SERVER_ROLE ? '' : `noinherit ${bypasses ? 'bypassrls' : ''}`
    await sql.unsafe(`create role ${role} nologin ${attributes}`)
  }
  // After each the others may not be lacking any more.
  for (let left = 2 * ROLES.length; left > 0; left--) {
    const lacking = await lackingGrants(sql)
    const grant = lacking.find(isToServer) ?? lacking.find(isOfServer) ?? lacking[0]
    if (!grant) return
    await sql.unsafe(statement(grant))
  }
}

interface Roles {
  login: string
  /** Roles that are not there. */
  missing: string[]
  mayCreate: boolean
  /** Whether it may give BYPASSRLS: from 16 on who has it can. */
  mayBypass: boolean
}

async function findRoles(sql: postgres.Sql): Promise<Roles> {
  const [roles] = await sql<[Roles]>`
    select rolname as login, rolsuper or rolcreaterole as "mayCreate",
      rolsuper or (rolcreaterole and rolbypassrls and not ${isBefore16(sql)}) as "mayBypass",
      array(select wanted from unnest(${ROLES}::text[]) wanted where to_regrole(wanted) is null) as missing
    from pg_roles where rolname = current_user`
  return roles
}

/** A membership that is lacking. */
interface Grant {
  role: string
  member: string
  /** Whether there is one, which does not let the member become the role. */
  isMember: boolean
  /** Whether the login may give it. */
  isOurs: boolean
}

const isToServer = (grant: Grant) => grant.member === SERVER_ROLE
const isOfServer = (grant: Grant) => grant.role === SERVER_ROLE

/** Of the login in all roles, and of the server's role in the others. */
async function lackingGrants(sql: postgres.Sql): Promise<Grant[]> {
  return sql<Grant[]>`
    with wanted as (
      select me.rolname::text as member, role, me from pg_roles me, unnest(${ROLES}::text[]) role
      where me.rolname = current_user
      union all
      select ${SERVER_ROLE}, role, me from pg_roles me, unnest(${STANDARD_ROLES}::text[]) role where me.rolname = current_user
    )
    select w.role, w.member,
      coalesce(pg_has_role(m.oid, r.oid, 'member'), false) as "isMember",
      (w.me).rolsuper or ((w.me).rolcreaterole and (r.oid is null or ${isBefore16(sql)}))
        or coalesce(pg_has_role(r.oid, 'member with admin option'), false) as "isOurs"
    from wanted w left join pg_roles r on r.rolname = w.role left join pg_roles m on m.rolname = w.member
    where pg_has_role(m.oid, r.oid, case when ${isBefore16(sql)} then 'member' else 'set' end) is not true`
}

function statement({ role, member, isMember }: Pick<Grant, 'role' | 'member' | 'isMember'>): string {
  // What an existing membership has stays as it is unless it is said.
  return `grant ${role} to "${member.replaceAll('"', '""')}"${isMember ? ' with inherit true, set true' : ''}`
}

/**
 * Logins of which that is true, such as `a or b`; empty when there is none. Superusers only where nobody else is: that of
 * a managed PostgreSQL is not for people.
 */
async function named(sql: postgres.Sql, condition: postgres.PendingQuery<postgres.Row[]>): Promise<string> {
  const logins = await sql<{ name: string; superuser: boolean }[]>`
    select rolname as name, rolsuper as superuser from pg_roles
    where rolcanlogin and (${condition}) order by rolsuper, oid`
  const alike = logins.filter((login) => login.superuser === logins[0]?.superuser)
  return alike
    .slice(0, NAMED)
    .map((login) => login.name)
    .join(' or ')
}
