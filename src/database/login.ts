import type { Database } from './client.ts'

/** The ordinary role that the server logs in as to the embedded PostgreSQL; migrations make it. */
export const SERVER_ROLE = 'strongroom_server'

export interface Login {
  name: string
  superuser: boolean
  /** Callers' roles that it may not become. */
  missing: string[]
}

/** Who we are to the database; the callers' roles must exist. */
export async function findLogin({ sql }: Database): Promise<Login> {
  const [login] = await sql<[Login]>`
    select r.rolname as name, r.rolsuper as superuser,
      array(select needed from unnest(array['anon', 'authenticated', 'service_role']) needed
            where not pg_has_role(current_user, needed, 'member')) as missing
    from pg_roles r where r.rolname = current_user`
  return login
}

export function whatToGrant({ name, missing }: Login): string {
  return (
    `The database login ${name} may not become ${missing.join(', ')}. ` +
    `Run as a superuser: grant ${missing.join(', ')} to "${name}"`
  )
}

export const SUPERUSER_WARNING = `DATABASE_URL logs in as a superuser; an ordinary login with \`grant ${SERVER_ROLE}\` is enough once migrated`
