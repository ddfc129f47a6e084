import type { Served, TestServer } from './server.ts'

/** What signing a download answers. */
export interface Signed {
  signedURL: string
  url: string
  id: string
  expires_at: string
}

/** Signs a download as the service. @param path `<bucket>/<name>`, percent-encoded @param options of the body */
export async function sign(
  server: Served,
  path: string,
  expiresIn = 60,
  { token, ...options }: Record<string, unknown> & { token?: string } = {},
): Promise<Signed> {
  const response = await server.request('POST', `/storage/v1/object/sign/${path}`, {
    body: { expiresIn, ...options },
    ...(token !== undefined && { token }),
  })
  if (response.status !== 200) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  return response.json() as Promise<Signed>
}

export function tokenOf(signed: Signed): string {
  return signed.signedURL.replace(/.*\?token=/, '')
}

/** What somebody without any key is told. @param url or a path of the server */
export async function open(server: Pick<Served, 'url'>, url: string, init: RequestInit = {}) {
  const response = await fetch(url.startsWith('http') ? url : `${server.url}${url}`, init)
  const text = await response.text()
  const isError = response.status >= 400 && text !== ''
  const { code, statusCode } = isError ? JSON.parse(text) : {}
  return { status: response.status, text, code, statusCode, headers: response.headers }
}

/** Stores a text as the service. @param path `<bucket>/<name>`, percent-encoded */
export async function put(server: TestServer, path: string, body: string): Promise<void> {
  const headers = { 'content-type': 'text/plain' }
  const response = await server.request('PUT', `/object/${path}`, { body, headers })
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
}
