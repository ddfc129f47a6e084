import type { Served } from './server.ts'

/** What the maker of a share is told. */
export interface Shared {
  share_id: string
  share_url: string
  access_token: string | null
  expires_at: string
}

/** Shares an object as the service, or another. */
export async function share(server: Served, body: Record<string, unknown>, token?: string): Promise<Shared> {
  const response = await server.request('POST', '/storage/v1/share', {
    body,
    ...(token !== undefined && { token }),
  })
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`)
  return response.json() as Promise<Shared>
}

/** Of whoever has the link. @param path behind the share's id */
export async function visit(
  server: Pick<Served, 'url'>,
  id: string,
  { path = '', method = 'GET', headers = {}, body }: VisitOptions = {},
) {
  const response = await fetch(`${server.url}/storage/v1/share/${id}${path}`, {
    method,
    redirect: 'manual',
    headers: { ...(body && { 'content-type': 'application/json' }), ...headers },
    ...(body && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.startsWith('application/json') && text !== ''
  const json = (isJson ? JSON.parse(text) : {}) as Visited
  return { status: response.status, headers: response.headers, text, ...json }
}

export interface VisitOptions {
  path?: string
  method?: string
  headers?: Record<string, string>
  body?: object
}

interface Visited {
  code?: string
  file_id?: string
  file_name?: string
  size?: number
  user_id?: null
  permissions?: Record<string, boolean>
  remaining_downloads?: number | null
  download_url?: string | null
  download_url_expires_at?: string | null
}
