import postgres from '#postgres'
import { DatabaseUrlError, readDatabaseUrl } from './database-url.ts'

/**
 * Why no connection came about, in plain words, and which part of DATABASE_URL to look at; undefined for other
 * errors. Without secrets: of the URL only host and port are told.
 *
 * @param url DATABASE_URL
 */
export function explainConnectionError(error: unknown, url: string): string | undefined {
  if (error instanceof DatabaseUrlError) return error.message
  if (error instanceof postgres.PostgresError) {
    const advice = error.severity === 'FATAL' ? ADVICE[error.code] : undefined // else it is of a statement
    return advice && `The database at ${place(url)} refuses the login: ${error.message}. ${advice}`
  }
  const { code, message } = error as NodeJS.ErrnoException
  switch (code) {
    case 'ERR_INVALID_URL':
    case undefined:
      if (code === undefined && !(error instanceof URIError)) return undefined
      return 'DATABASE_URL is not a URL: write special characters in its password as %xx, such as %40 for @'
    case 'ECONNREFUSED':
    case 'ENOENT': // its socket
      return `Nothing answers at ${place(url)} (${message}): is PostgreSQL running, and are host and port of DATABASE_URL right?`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `The host of the database is not known (${message}): correct it in DATABASE_URL`
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return `There is no way to ${place(url)} (${code}): is the host of DATABASE_URL right, and the network up?`
    case 'CONNECT_TIMEOUT':
    case 'ETIMEDOUT':
      return `Nothing answers at ${place(url)} in time: are host and port of DATABASE_URL right, and does a firewall let us through?`
    case 'ECONNRESET':
    case 'EPIPE':
    case 'CONNECTION_CLOSED':
      return `What is at ${place(url)} ends the connection without an answer: is it PostgreSQL, and does it want TLS as DATABASE_URL says (sslmode)?`
  }
  if (typeof code === 'string' && /CERT|SIGNED/.test(code)) {
    return `The certificate of ${place(url)} cannot be trusted (${code}): NODE_EXTRA_CA_CERTS names a file of further authorities`
  }
  return undefined
}

/** By SQLSTATE. */
const ADVICE: Record<string, string> = {
  '28P01': 'Correct user or password in DATABASE_URL',
  '28000': 'Correct the user in DATABASE_URL, or let it log in (pg_hba.conf)',
  '3D000': 'Create it, or correct the name at the end of DATABASE_URL',
  '42501': 'Let the user of DATABASE_URL connect to it (grant connect)',
  '53300':
    'Raise that limit (max_connections, or the connection limit of the login or the database), or let others have fewer',
  '55000': 'Correct the name at the end of DATABASE_URL',
  '57P03': 'Try again soon',
}

function place(url: string): string {
  try {
    return readDatabaseUrl(url).place ?? 'the place that DATABASE_URL names'
  } catch {
    return 'the place that DATABASE_URL names'
  }
}
