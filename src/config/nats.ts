import { z } from 'zod'
import { commaList } from './fields.ts'
import { setting, type ValuesOf } from './setting.ts'

/** A NATS broker that gets every event. */
export interface NatsSettings extends Omit<Values, 'servers'> {
  /** As `host:port`; any one of them will do. */
  servers: string[]
  /** Whether nothing is said without TLS: `tls://` in the URLs. With `nats://` it is used where there is. */
  requiresTls: boolean
  login: NatsLogin
}

/** What the URLs have before the `@`. */
type NatsLogin = { user: string; password: string } | { token: string } | undefined

const NATS_PORT = 4222

const natsUrls = commaList.transform((list, context) => {
  const servers = list.flatMap((item) => natsServer(item) ?? [])
  if (servers.length === list.length) return servers
  const message = 'must be nats://host:4222 or tls://host:4222, several separated by commas'
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

export const NATS_TABLE = {
  servers: setting('STORAGE_NATS_URL', natsUrls, {
    help: 'a NATS that gets every event: `nats://user:password@host:4222`; several by commas',
    example: 'nats://user:password@nats.example.com:4222',
  }),
  /** The beginning of every subject, without the dot. */
  prefix: setting(
    'STORAGE_NATS_PREFIX',
    // No wildcards, and none of NATS's own subjects, which begin with a dollar sign.
    z.string().regex(/^[\w-]+(?:\.[\w-]+)*$/, 'must be a subject such as storage or files.storage'),
    { preset: 'storage', help: 'the beginning of its subjects' },
  ),
  /** With a user's JWT and seed. */
  credentialsFile: setting('STORAGE_NATS_CREDENTIALS', z.string(), {
    help: 'path of a `.creds` file',
  }),
}

type Values = ValuesOf<typeof NATS_TABLE>

/** What is wrong with settings that are each right by themselves. */
export function natsContradictions({ servers = [], credentialsFile: credentials }: Values): string[] {
  const problems: string[] = []
  if (new Set(servers.map(({ requiresTls }) => requiresTls)).size > 1) {
    problems.push('STORAGE_NATS_URL must be all nats:// or all tls://')
  }
  if (new Set(servers.map(({ login }) => JSON.stringify(login))).size > 1) {
    problems.push('STORAGE_NATS_URL must have the same user for each server')
  }
  if (credentials !== undefined && servers.length === 0) {
    problems.push('STORAGE_NATS_CREDENTIALS needs STORAGE_NATS_URL')
  }
  if (credentials !== undefined && servers.some(({ login }) => login !== undefined)) {
    problems.push('STORAGE_NATS_CREDENTIALS and a user in STORAGE_NATS_URL: only one can be')
  }
  return problems
}

export function natsSettings({ servers = [], ...rest }: Values): NatsSettings | undefined {
  const [first] = servers
  if (first === undefined) return undefined
  const { requiresTls, login } = first
  return { ...rest, servers: servers.map(({ host }) => host), requiresTls, login }
}

/** Null when the text is no URL of a NATS server. */
function natsServer(text: string): { host: string; requiresTls: boolean; login: NatsLogin } | null {
  const parts = /^(nats|tls):\/\/(?:([^@:/]+)(?::([^@/]+))?@)?([^@/?#]+)\/?$/.exec(text)
  if (parts === null) return null
  const [, scheme, name, password, host] = parts
  try {
    const { hostname, port } = new URL(`${scheme}://${host}`)
    return {
      host: `${hostname}:${port || NATS_PORT}`,
      requiresTls: scheme === 'tls',
      login: name === undefined ? undefined : login(decodeURIComponent(name), password),
    }
  } catch {
    return null // no host, no port, or no percent-encoding
  }
}

/** One word before the `@` is a token, as NATS has it. */
function login(name: string, password: string | undefined): NatsLogin {
  return password === undefined ? { token: name } : { user: name, password: decodeURIComponent(password) }
}
