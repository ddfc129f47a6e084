import { STANDARD_ROLES } from '../../model/caller.ts'
import type { Database } from '../connection/client.ts'
import { isBefore16, SERVER_ROLE, whatToRun } from './roles.ts'

export interface Login {
  name: string
  superuser: boolean
  /** Callers' roles that it may not become. */
  missing: string[]
}

/** Who we are to the database; the callers' roles must exist. */
export async function findLogin({ sql }: Pick<Database, 'sql'>): Promise<Login> {
  const [login] = await sql<[Login]>`
    select r.rolname as name, r.rolsuper as superuser,
      array(select needed from unnest(${STANDARD_ROLES}::text[]) needed
            where not pg_has_role(needed, case when ${isBefore16(sql)} then 'member' else 'set' end)) as missing
    from pg_roles r where r.rolname = current_user`
  return login
}

export async function whatToGrant({ sql }: Pick<Database, 'sql'>, { name, missing }: Login): Promise<string> {
  return `The database login ${name} may not become ${missing.join(', ')}. ${await whatToRun(sql, SERVER_ROLE, name)}`
}

export const SUPERUSER_WARNING = `DATABASE_URL logs in as a superuser; an ordinary login with \`grant ${SERVER_ROLE}\` is enough once migrated`
