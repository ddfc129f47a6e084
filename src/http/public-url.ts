import type { AppContext, Services } from './env.ts'
import { PUBLIC_PREFIX, requestTarget } from './request-path.ts'

/**
 * Makes a path of ours absolute, as the client can reach it: under STORAGE_PUBLIC_URL, or where the request came
 * to. `X-Forwarded-*` count only behind a trusted proxy (design §10).
 *
 * @param path such as `/object/sign/…`, percent-encoded
 */
export function absoluteUrl(c: AppContext, services: Services, path: string): string {
  if (services.publicUrl !== undefined) return `${services.publicUrl}${PUBLIC_PREFIX}${path}`
  const { incoming } = c.env
  const forwarded = (name: string) =>
    services.trustProxy
      ? String(incoming.headers[name] ?? '')
          .split(',', 1)[0]
          ?.trim() || undefined
      : undefined
  const proto = forwarded('x-forwarded-proto') === 'https' ? 'https' : 'http'
  const host = forwarded('x-forwarded-host') ?? incoming.headers.host ?? 'localhost'
  const port = forwarded('x-forwarded-port')
  const isUsual = port === undefined || host.includes(':') || port === (proto === 'https' ? '443' : '80')
  const prefix = forwarded('x-forwarded-prefix') ?? (requestTarget(incoming).hasPrefix ? PUBLIC_PREFIX : '')
  return `${proto}://${host}${isUsual ? '' : `:${port}`}${prefix.replace(/\/+$/, '')}${path}`
}

/** Percent-encodes each segment of an object's name, and keeps its slashes. */
export function encodePath(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/')
}
