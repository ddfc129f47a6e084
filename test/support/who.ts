import { randomUUID } from 'node:crypto'
import type { TestServer } from './server.ts'

export interface Seen {
  status: number
  /** The role that PostgreSQL ran the request under; undefined when it was refused. */
  role?: string | undefined
  /** The `code` of the error, when it was refused. */
  code?: string | undefined
  challenge: string | null
}

/** Asks a server whom it takes a request with these headers for. */
export type Who = (headers: Record<string, string>) => Promise<Seen>

/**
 * Objects that are named for a role and visible to it alone, so that a list tells who asked. The service sees them
 * all, for no policy binds it.
 */
export async function askWho(server: TestServer, extraRoles: string[] = []): Promise<Who> {
  const bucket = `who-${randomUUID()}`
  await server.createBucket(bucket)
  for (const role of ['anon', 'authenticated', ...extraRoles]) {
    const response = await server.request('POST', `/object/${bucket}/${role}`, { body: role })
    if (!response.ok) throw new Error(`${role}: ${response.status} ${await response.text()}`)
  }
  await server.admin.unsafe(
    `create policy "${bucket}" on storage.objects for select
       using (bucket_id = '${bucket}' and name = current_user::text)`,
  )
  return async (headers) => {
    const response = await server.request('POST', `/object/list/${bucket}`, {
      token: null,
      headers,
      body: { prefix: '' },
    })
    const challenge = response.headers.get('www-authenticate')
    const body = (await response.json()) as { code?: string } | { name: string }[]
    if (!Array.isArray(body)) return { status: response.status, code: body.code, challenge }
    const role = body.length > 1 ? 'service_role' : body[0]?.name
    return { status: response.status, role, challenge }
  }
}
