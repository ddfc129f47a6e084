import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import postgres from '#postgres'

/** An address of PostgreSQL as providers print it, for the driver. */
export interface DatabaseUrl {
  /** Without any parameter. */
  url: string
  /** What its parameters say, in the driver's words. */
  options: postgres.Options<Record<string, never>>
  /** Such as `db:5432`, or the path of a socket; undefined when the environment decides. */
  place: string | undefined
  /** Each parameter that is not heeded, and why. Without its value. */
  remarks: string[]
}

/** The address cannot be used. The message says why, without secrets. */
export class DatabaseUrlError extends Error {
  override readonly name = 'DatabaseUrlError'
}

/** Opens a pool at this address. @throws DatabaseUrlError, or what the driver throws for what is no URL */
export function openUrl(text: string, settings: postgres.Options<Record<string, never>>): postgres.Sql {
  const { url, options } = readDatabaseUrl(text)
  const connection = { ...settings.connection, ...options.connection }
  return postgres(url, { ...settings, ...options, connection } as typeof settings)
}

/** What is not heeded in the addresses of the settings, a sentence each. @throws as `readDatabaseUrl` */
export function remarksOn(url: string, directUrl: string | undefined): string[] {
  const on = (variable: string, text: string) =>
    readDatabaseUrl(text).remarks.map((remark) => `${variable} says ${remark}`)
  return [
    ...on('DATABASE_URL', url),
    ...(directUrl === undefined ? [] : on('STORAGE_DATABASE_DIRECT_URL', directUrl)),
  ]
}

/**
 * Reads the parameters of a URL: those of libpq (PostgreSQL manual, §34.1.2), of which the driver knows a few, and sends
 * the others to PostgreSQL as settings, which it refuses. What other programs write there is named and dropped.
 *
 * @throws DatabaseUrlError, URIError for what is no URL
 */
export function readDatabaseUrl(text: string): DatabaseUrl {
  const [base = '', query = ''] = splitOnce(text.trim(), '?')
  if (!base.includes('@') && query.includes('@') && !/(^|&)user=/.test(query)) {
    // A password with a question mark in it: nothing of it may be told.
    throw new URIError('a question mark in the password')
  }
  const given = new URLSearchParams(query)
  const value = (word: string) => given.get(word)?.trim() || undefined
  const socket = /^(\w+:\/\/(?:[^@/]*@)?)(%2f[^/:]*)(:\d+)?/i.exec(base)
  const host =
    value('host') ?? value('hostaddr') ?? (socket ? decodeURIComponent(socket[2] ?? '') : undefined)
  const port = value('port') ?? socket?.[3]?.slice(1)
  if (port !== undefined && !/^\d+(,\d+)*$/.test(port)) throw new DatabaseUrlError(bad('port', 'numbers'))
  const url = socket
    ? base.replace(socket[0], `${socket[1]}localhost`)
    : base.replace(/^(\w+:\/\/[^@/]*@)(?=\/|$)/, '$1localhost') // no host, which is no URL to Node
  const parameters = pick({ application_name: value('application_name'), options: value('options') })
  return {
    url,
    options: {
      ...pick({
        host: host && withPorts(host, port),
        port: port === undefined ? undefined : Number.parseInt(port, 10),
        user: value('user'),
        pass: value('password'),
        database: value('dbname'),
        ssl: tls(value),
        sslnegotiation: value('sslnegotiation'),
        target_session_attrs: sessionAttributes(value('target_session_attrs')),
        connect_timeout: Number(value('connect_timeout')) || undefined,
      }),
      ...(Object.keys(parameters).length > 0 && { connection: parameters }),
    },
    place: host ? placeOf(host, port) : placeInUrl(url),
    remarks: remarks(given),
  }
}

/** Of libpq's, those that we heed. */
const HEEDED = new Set([
  ...[
    'host',
    'hostaddr',
    'port',
    'user',
    'password',
    'dbname',
    'application_name',
    'options',
    'connect_timeout',
  ],
  ...[
    'sslmode',
    'ssl',
    'sslrootcert',
    'sslcert',
    'sslkey',
    'sslpassword',
    'sslnegotiation',
    'target_session_attrs',
  ],
])

/** Of libpq's, those whose usual values ask for what happens anyway. */
const HARMLESS: Record<string, string[]> = {
  channel_binding: ['disable', 'prefer'],
  gssencmode: ['disable', 'prefer'],
  sslcompression: ['0'],
  client_encoding: ['auto', 'utf8', 'utf-8'],
  load_balance_hosts: ['disable'],
}

/** Of libpq's, all others; those that begin so. */
const LIBPQ =
  /^(channel_binding|client_encoding|fallback_application_name|gss|keepalives|krbsrvname|load_balance_hosts|max_protocol_version|min_protocol_version|oauth_|passfile|replication|require|scram_|service|ssl|tcp_user_timeout)/

/** Where other words come from, and what else does what they ask for. */
const OTHERS: Record<string, string> = {
  pgbouncer: "Prisma's; poolers are recognised without it",
  connection_limit: "Prisma's; the number of connections is STORAGE_DATABASE_POOL",
  pool_timeout: "Prisma's",
  schema: "Prisma's; the schema is always storage",
  currentschema: "JDBC's; the schema is always storage",
  sslaccept: "Prisma's; certificates are checked with sslmode=verify-full",
  statement_cache_size: "Prisma's",
  preparethreshold: "JDBC's",
  uselibpqcompat: "node-postgres's",
  supa: "Supabase's",
}

const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full']
const SESSION_ATTRIBUTES = ['read-write', 'read-only', 'primary', 'standby', 'prefer-standby'] as const

function remarks(given: URLSearchParams): string[] {
  return [...given].flatMap(([word, value]) => {
    const name = word.toLowerCase()
    if (HEEDED.has(word) || HARMLESS[name]?.includes(value.toLowerCase())) return []
    const whose = LIBPQ.test(name)
      ? "libpq's"
      : (OTHERS[name] ?? 'not a word of PostgreSQL; its settings go into options=-c …')
    const instead = name === 'channel_binding' ? '; sslmode=verify-full proves who answers' : ''
    return [`${/^\w+$/.test(word) ? word : '?'}, which is not heeded (${whose}${instead})`]
  })
}

/** What libpq does, but that `allow` tries without TLS first. @throws DatabaseUrlError */
function tls(value: (word: string) => string | undefined): postgres.Options<Record<string, never>>['ssl'] {
  const roots = value('sslrootcert')
  // `ssl` is the driver's own word, `no-verify` that of node-postgres.
  const said = value('sslmode') ?? value('ssl') ?? (roots === 'system' ? 'verify-full' : undefined)
  const mode =
    { 'no-verify': 'require', true: 'verify-full', 1: 'verify-full', false: 'disable', 0: 'disable' }[
      said ?? ''
    ] ?? said
  if (mode !== undefined && !SSL_MODES.includes(mode)) {
    throw new DatabaseUrlError(bad('sslmode', SSL_MODES.join(', ')))
  }
  if (mode === undefined && roots === undefined && value('sslcert') === undefined) return undefined
  if (mode === 'disable') return false
  const files = pick({
    ca: roots === 'system' ? undefined : fileOf('sslrootcert', roots),
    cert: fileOf('sslcert', value('sslcert')),
    key: fileOf('sslkey', value('sslkey')),
    passphrase: value('sslpassword'),
  })
  if (mode === 'verify-full') return { ...files }
  // With authorities of one's own `require` means `verify-ca`, for compatibility (PostgreSQL manual, §34.19.1).
  if (mode === 'verify-ca' || (files.ca !== undefined && mode !== 'allow' && mode !== 'prefer')) {
    return { ...files, checkServerIdentity: () => undefined } satisfies ConnectionOptions
  }
  if (files.cert !== undefined) return { ...files, rejectUnauthorized: false }
  return mode as 'require' | 'allow' | 'prefer' | undefined
}

function fileOf(word: string, path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined
  try {
    return readFileSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new DatabaseUrlError(
      `The file that ${word} of DATABASE_URL names cannot be read (${code}): ${path}`,
    )
  }
}

function sessionAttributes(said: string | undefined) {
  if (said === undefined || said === 'any') return undefined
  const known = SESSION_ATTRIBUTES.find((attribute) => attribute === said)
  if (!known)
    throw new DatabaseUrlError(bad('target_session_attrs', ['any', ...SESSION_ATTRIBUTES].join(', ')))
  return known
}

function bad(word: string, allowed: string): string {
  return `${word} of DATABASE_URL is none of: ${allowed}`
}

/** The driver's way to say several hosts, each with its port. */
function withPorts(host: string, port: string | undefined): string {
  if (port === undefined || !host.includes(',')) return host
  const ports = port.split(',')
  return host
    .split(',')
    .map((name, index) => `${name}:${ports[index] ?? ports[0]}`)
    .join(',')
}

function placeOf(host: string, port = '5432'): string {
  return host.startsWith('/')
    ? `${host}/.s.PGSQL.${port}`
    : withPorts(host, port).replace(/^[^,:]*$/, `$&:${port}`)
}

function placeInUrl(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined // several hosts are no URL to Node
  const { hostname, port } = new URL(url)
  return hostname === '' ? undefined : `${hostname}:${port || 5432}`
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator)
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)]
}

/** Without what is undefined or empty. */
function pick<T extends Record<string, unknown>>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== ''),
  ) as { [K in keyof T]?: NonNullable<T[K]> }
}
