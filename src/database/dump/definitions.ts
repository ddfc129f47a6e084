import type postgres from '#postgres'
import { STANDARD_ROLES } from '../../model/caller.ts'
import { inOurErrors } from '../connection/postgres-error.ts'
import { SERVER_ROLE } from '../migrations/roles.ts'
import {
  CALLERS_POLICIES,
  isOfNoExtension,
  isUsers,
  OUR_POLICIES,
  ourFunctions,
  ourIndexes,
} from './ours-and-theirs.ts'

/** What users have added to the schema `storage`, and what is theirs elsewhere. */
export interface Definitions {
  /** In an order in which they can be run. Each may run in a database that has it already. */
  statements: Definition[]
  /** What users have besides, that none of these makes: the operator's to take along, such as `table public.members`. */
  left: string[]
}

export interface Definition {
  /** Such as `policy "members read" on storage.objects`. */
  what: string
  sql: string
  /** Tables and views of users' that it asks, which have to be there. */
  needs: string[]
}

/** As a script, for `strongroom sql` or psql. */
export function definitionsScript({ statements, left }: Definitions): string {
  const notes = left.map((what) => `-- Not in here: ${commented(what)}`)
  const parts = statements.map(({ what, sql, needs }) => {
    const needed = needs.length > 0 ? `, which needs ${needs.join(', ')}` : ''
    return `-- ${commented(`${what}${needed}`)}\n${sql};`
  })
  return `${[['-- What users have added to the schema storage.', ...notes].join('\n'), BEFORE, ...parts].join('\n\n')}\n`
}

/** What a script, or a transaction of these statements, begins with: a function may name what is not there yet. */
export const BEFORE = 'set check_function_bodies = off;'

/**
 * Policies, triggers and rights that users have added to our tables; the functions in schemas of theirs that those call; and
 * the roles that they name. Only reads.
 *
 * @throws StorageError
 */
export function readDefinitions(sql: postgres.Sql): Promise<Definitions> {
  const reading = sql.begin('read only', async (tx) => {
    await tx.unsafe(`set local search_path = ''`) // so that all names are whole
    const functions = await usersFunctions(tx)
    const called = functions.filter(({ isCalled }) => isCalled)
    const statements = [
      ...(await usersRoles(tx)),
      ...called.flatMap(({ schema }) => (schema === 'public' ? [] : [schemaOf(schema)])),
      ...called.map(asStatement),
      ...(await droppedPolicies(tx)),
      ...(await usersPolicies(tx)),
      ...(await usersTriggers(tx)),
      ...(await rights(tx)),
    ]
    const seen = new Set<string>()
    return {
      statements: statements.filter(({ what }) => !seen.has(what) && seen.add(what)),
      left: [
        ...(await othersOf(tx)),
        ...functions
          .filter((f) => !f.isCalled && f.schema !== 'storage')
          .map(({ name }) => `function ${name}`),
      ].sort(),
    }
  })
  return inOurErrors(reading as Promise<Definitions>) // no array of promises, which the driver would wait for
}

/** A role that a policy or a right is for, or that callers may become. */
async function usersRoles(tx: postgres.TransactionSql): Promise<Definition[]> {
  const roles = await tx<{ name: string; isCaller: boolean }[]>`
    select quote_ident(r.rolname) as name, r.rolname <> ${SERVER_ROLE} and m.member is not null as "isCaller"
    from pg_roles r
    left join pg_auth_members m on m.roleid = r.oid and m.member = (select oid from pg_roles where rolname = ${SERVER_ROLE})
    where r.rolname <> all (${[...STANDARD_ROLES, SERVER_ROLE]}::text[]) and r.rolname !~ '^pg_' and not r.rolsuper
      and (m.member is not null
        or exists (
          select from pg_policy p join pg_class c on c.oid = p.polrelid
          where c.relnamespace = 'storage'::regnamespace and r.oid = any (p.polroles)
        )
        or exists (
          select from pg_class c, aclexplode(c.relacl) a
          where c.relnamespace = 'storage'::regnamespace and c.relkind in ('r', 'p') and a.grantee = r.oid and a.grantee <> c.relowner
        ))
    order by r.rolname`
  return roles.map(({ name, isCaller }) => ({
    what: `role ${name}`,
    sql: `do $do$ begin
  if not exists (select from pg_catalog.pg_roles where pg_catalog.quote_ident(rolname) = ${literal(name)}) then create role ${name} nologin; end if;
${isCaller ? `  grant ${name} to ${SERVER_ROLE};\n` : ''}end $do$`,
    needs: [],
  }))
}

function schemaOf(schema: string): Definition {
  const name = `"${schema.replaceAll('"', '""')}"`
  const roles = STANDARD_ROLES.join(', ')
  return {
    what: `schema ${name}`,
    sql: `create schema if not exists ${name}; grant usage on schema ${name} to ${roles}`,
    needs: [],
  }
}

interface UsersFunction {
  schema: string
  /** With its arguments, quoted. */
  name: string
  text: string
  /** Who may run it, quoted; null when it is as usual, everybody. */
  grantees: string[] | null
  /** Whether one of our tables depends on it: by a policy, a trigger, or another function. */
  isCalled: boolean
}

async function usersFunctions(tx: postgres.TransactionSql): Promise<UsersFunction[]> {
  return tx<UsersFunction[]>`
    with recursive called (oid) as (
      select d.refobjid from pg_depend d
      where d.refclassid = 'pg_proc'::regclass and (
        (d.classid = 'pg_policy'::regclass and d.objid in (
          select p.oid from pg_policy p join pg_class c on c.oid = p.polrelid where c.relnamespace = 'storage'::regnamespace))
        or (d.classid = 'pg_trigger'::regclass and d.objid in (
          select t.oid from pg_trigger t join pg_class c on c.oid = t.tgrelid where c.relnamespace = 'storage'::regnamespace))
      )
      union
      select d.refobjid from called c
      join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = c.oid and d.refclassid = 'pg_proc'::regclass
    )
    select n.nspname::text as schema, p.oid::regprocedure::text as name, pg_get_functiondef(p.oid) as text,
      (
        select coalesce(array_agg(distinct coalesce(quote_ident(r.rolname), 'public')), '{}')
        from aclexplode(p.proacl) a left join pg_roles r on r.oid = a.grantee where a.grantee <> p.proowner
        having p.proacl is not null
      ) as grantees,
      p.oid in (select oid from called) as "isCalled"
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where p.prokind in ('f', 'p') and ${isUsers(tx, 'n.nspname')} and ${isOfNoExtension(tx, 'pg_proc', 'p.oid')}
      and not (n.nspname = 'auth' and p.proname in ('uid', 'jwt', 'role', 'email'))
      and not (n.nspname = 'storage' and p.proname = any (${ourFunctions()}::text[]))
    order by "isCalled" desc, p.oid`
}

function asStatement({ name, text, grantees }: UsersFunction): Definition {
  const granting = grantees?.map((role) => `grant execute on function ${name} to ${role}`) ?? []
  const revoking = grantees ? [`revoke all on function ${name} from public`] : []
  return {
    what: `function ${name}`,
    sql: [text.trimEnd(), ...revoking, ...granting].join(';\n'),
    needs: [],
  }
}

/** Policies of ours that somebody has dropped must not come again with a new database. */
async function droppedPolicies(tx: postgres.TransactionSql): Promise<Definition[]> {
  const kept = await tx<{ name: string }[]>`
    select c.relname || ': ' || p.polname as name from pg_policy p join pg_class c on c.oid = p.polrelid
    where c.relnamespace = 'storage'::regnamespace and p.polname like ${OUR_POLICIES} order by 1`
  const names = new Set(kept.map(({ name }) => name))
  return CALLERS_POLICIES.filter(({ table, name }) => !names.has(`${table}: ${name}`)).map(
    ({ table, name }) => ({
      what: `no policy "${name}" on storage.${table}`,
      sql: `drop policy if exists "${name}" on storage.${table}`,
      needs: [],
    }),
  )
}

async function usersPolicies(tx: postgres.TransactionSql): Promise<Definition[]> {
  const policies = await tx<
    {
      name: string
      table: string
      kind: string
      command: string
      roles: string
      rule: string
      needs: string[]
    }[]
  >`
    select quote_ident(p.polname) as name, c.oid::regclass::text as table,
      case when p.polpermissive then 'permissive' else 'restrictive' end as kind,
      case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end as command,
      (select string_agg(case when role = 0 then 'public' else quote_ident(pg_get_userbyid(role)) end, ', ')
        from unnest(p.polroles) role) as roles,
      concat(
        ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'
      ) as rule,
      array(
        select distinct o.oid::regclass::text from pg_depend d join pg_class o on o.oid = d.refobjid join pg_namespace n on n.oid = o.relnamespace
        where d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass
          and ${isUsers(tx, 'n.nspname')} and n.nspname <> 'storage'
      ) as needs
    from pg_policy p join pg_class c on c.oid = p.polrelid
    where c.relnamespace = 'storage'::regnamespace and p.polname not like ${OUR_POLICIES}
    order by c.relname, p.polname`
  return policies.map(({ name, table, kind, command, roles, rule, needs }) => ({
    what: `policy ${name} on ${table}`,
    sql:
      `drop policy if exists ${name} on ${table};\n` +
      `create policy ${name} on ${table} as ${kind} for ${command} to ${roles}${rule}`,
    needs,
  }))
}

async function usersTriggers(tx: postgres.TransactionSql): Promise<Definition[]> {
  const triggers = await tx<{ name: string; table: string; text: string; state: string }[]>`
    select quote_ident(t.tgname) as name, c.oid::regclass::text as table, pg_get_triggerdef(t.oid) as text, t.tgenabled as state
    from pg_trigger t join pg_class c on c.oid = t.tgrelid
    where c.relnamespace = 'storage'::regnamespace and not t.tgisinternal and t.tgname !~ '^strongroom_'
    order by c.relname, t.tgname`
  return triggers.map(({ name, table, text, state }) => {
    const enabled = ENABLED[state]
    const set = enabled ? `;\nalter table ${table} ${enabled} trigger ${name}` : ''
    return {
      what: `trigger ${name} on ${table}`,
      sql: `drop trigger if exists ${name} on ${table};\n${text}${set}`,
      needs: [],
    }
  })
}

/** What is said of a trigger that is not as usual, by `pg_trigger.tgenabled`. */
const ENABLED: Record<string, string> = { D: 'disable', R: 'enable replica', A: 'enable always' }

const CALLERS = STANDARD_ROLES.filter((role) => role !== 'service_role')

/**
 * Who may what with objects and buckets: callers' roles exactly what they may here, so that what was revoked stays so.
 * MAINTAIN, which came with PostgreSQL 17, does not go along.
 */
async function rights(tx: postgres.TransactionSql): Promise<Definition[]> {
  const granted = await tx<{ table: string; role: string; privileges: string; option: string }[]>`
    select c.oid::regclass::text as table, coalesce(quote_ident(r.rolname), 'public') as role,
      string_agg(a.privilege_type, ', ' order by a.privilege_type) as privileges,
      case when bool_and(a.is_grantable) then ' with grant option' else '' end as option
    from pg_class c, aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee
    where c.relnamespace = 'storage'::regnamespace and c.relname in ('objects', 'buckets') and a.grantee <> c.relowner
      and coalesce(r.rolname <> all (${[SERVER_ROLE, 'service_role']}::text[]), true) and a.privilege_type <> 'MAINTAIN'
    group by c.oid, c.relname, r.rolname order by c.relname, r.rolname`
  const tables = ['storage.buckets', 'storage.objects']
  const without = tables.flatMap((table) =>
    CALLERS.filter((role) => !granted.some((row) => row.table === table && row.role === role)).map(
      (role) => ({
        what: `no rights of ${role} on ${table}`,
        sql: `revoke all on ${table} from ${role}`,
        needs: [],
      }),
    ),
  )
  const some = granted.map(({ table, role, privileges, option }) => ({
    what: `rights of ${role} on ${table}`,
    sql: `revoke all on ${table} from ${role};\ngrant ${privileges} on ${table} to ${role}${option}`,
    needs: [],
  }))
  return [...without, ...some]
}

/** What users have in schemas of theirs, but functions; and what they have changed of our tables besides. */
async function othersOf(tx: postgres.TransactionSql): Promise<string[]> {
  const [found] = await tx<{ names: string[] }[]>`
    select array(
      select case c.relkind when 'v' then 'view ' when 'm' then 'materialized view ' when 'S' then 'sequence ' else 'table ' end
        || c.oid::regclass::text
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and ${isUsers(tx, 'n.nspname')} and n.nspname <> 'storage'
        and ${isOfNoExtension(tx, 'pg_class', 'c.oid')}
        and not exists (select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i'))
      union all
      select 'type ' || t.oid::regtype::text
      from pg_type t join pg_namespace n on n.oid = t.typnamespace
      where t.typtype in ('e', 'd', 'r') and ${isUsers(tx, 'n.nspname')} and n.nspname <> 'storage'
        and ${isOfNoExtension(tx, 'pg_type', 't.oid')}
      union all
      select 'extension ' || quote_ident(e.extname) from pg_extension e where e.extname <> 'plpgsql'
      union all
      select 'index ' || i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid
      join pg_class x on x.oid = i.indexrelid
      where c.relnamespace = 'storage'::regnamespace and not i.indisprimary and not exists (
        select from pg_constraint k where k.conindid = i.indexrelid
      ) and x.relname not like all (${ourIndexes()}::text[])
    ) as names`
  return found?.names ?? []
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

/** On one line, however a name is written. */
function commented(text: string): string {
  return text.replaceAll(/[\r\n]+/g, ' ')
}
