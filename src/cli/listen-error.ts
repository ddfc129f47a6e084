import { isIPv6 } from 'node:net'

/** What Node says when it cannot listen. */
interface ListenError extends Error {
  code: string
  syscall: string
  address?: string
  port?: number
  hostname?: string
  /** Ours: where the port is set, if not in STORAGE_PORT. */
  setting?: string
  /** Ours: where the address is set, if not in STORAGE_HOST. */
  hostSetting?: string
}

/** Why the server cannot listen where it should, and what to do; undefined for other errors. */
export function explainListenError(error: unknown): string | undefined {
  if (!isListenError(error)) return undefined
  const { code, address = error.hostname ?? '', port } = error
  const { setting = 'STORAGE_PORT', hostSetting = 'STORAGE_HOST' } = error
  const place = `${isIPv6(address) ? `[${address}]` : address}:${port}`
  switch (code) {
    case 'EADDRINUSE':
      return `something listens already on ${place}. Stop the other server, or set ${setting} to another port.`
    case 'EACCES':
      return `this user may not listen on ${place}: ports below 1024 are mostly root's. Set ${setting} to another port, and let a proxy have this one.`
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
    case 'EINVAL':
      return `${address} is no address of this machine. Set ${hostSetting} to one that is: 127.0.0.1 for this machine alone, 0.0.0.0 or :: for all.`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `nobody knows the host ${address}. Set ${hostSetting} to an address of this machine: 127.0.0.1 for this machine alone, 0.0.0.0 or :: for all.`
    default:
      return `it cannot listen on ${place} (${code}): look at ${hostSetting} and ${setting}.`
  }
}

function isListenError(error: unknown): error is ListenError {
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return false
  return error.syscall === 'listen' || error.syscall === 'bind' || error.syscall === 'getaddrinfo'
}
