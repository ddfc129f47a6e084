import { z } from 'zod'
import { commaList } from './fields.ts'

/** A NATS broker that gets every event. */
export interface NatsSettings {
  /** As `host:port`; any one of them will do. STORAGE_NATS_URL, separated by commas. */
  servers: string[]
  /** Whether nothing is said without TLS: `tls://` in STORAGE_NATS_URL. With `nats://` it is used where there is. */
  requiresTls: boolean
  /** What STORAGE_NATS_URL has before the `@`. */
  login: { user: string; password: string } | { token: string } | undefined
  /** Path of a `.creds` file with a user's JWT and seed. STORAGE_NATS_CREDENTIALS. */
  credentialsFile: string | undefined
  /** The beginning of every subject, without the dot. STORAGE_NATS_PREFIX, storage. */
  prefix: string
}

const NATS_PORT = 4222

const natsUrls = commaList.transform((list, context) => {
  const servers = list.flatMap((item) => natsServer(item) ?? [])
  if (servers.length === list.length) return servers
  const message = 'must be nats://host:4222 or tls://host:4222, several separated by commas'
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

export const eventFields = {
  STORAGE_NATS_URL: natsUrls.optional(),
  STORAGE_NATS_CREDENTIALS: z.string().optional(),
  // No wildcards, and none of NATS's own subjects, which begin with a dollar sign.
  STORAGE_NATS_PREFIX: z
    .string()
    .regex(/^[\w-]+(?:\.[\w-]+)*$/, 'must be a subject such as storage or files.storage')
    .default('storage'),
}

const schema = z.object(eventFields)
type Values = z.infer<typeof schema>

/** What is wrong with settings that are each right by themselves. */
export function eventContradictions(v: Values): string[] {
  const problems: string[] = []
  const { STORAGE_NATS_URL: servers = [], STORAGE_NATS_CREDENTIALS: credentials } = v
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

export function natsSettings(v: Values): NatsSettings | undefined {
  const { STORAGE_NATS_URL: servers = [] } = v
  const [first] = servers
  if (first === undefined) return undefined
  return {
    servers: servers.map(({ host }) => host),
    requiresTls: first.requiresTls,
    login: first.login,
    credentialsFile: v.STORAGE_NATS_CREDENTIALS,
    prefix: v.STORAGE_NATS_PREFIX,
  }
}

/** Null when the text is no URL of a NATS server. */
function natsServer(
  text: string,
): { host: string; requiresTls: boolean; login: NatsSettings['login'] } | null {
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
function login(name: string, password: string | undefined): NatsSettings['login'] {
  return password === undefined ? { token: name } : { user: name, password: decodeURIComponent(password) }
}
