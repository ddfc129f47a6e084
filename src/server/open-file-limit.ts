import { readFileSync } from 'node:fs'

/** Standard streams, timers, the log, the database's connections and the like. */
const OWN_FILES = 48

/** Node reads many of the program's files at once. */
const LEAST_FILES = 256

/** Of connections: with fewer, a small crowd fills them. */
const FEW = 1000

/** How to let it open more. */
const ADVICE =
  'raise the limit, with `ulimit -n 65536`, LimitNOFILE= in systemd, or --ulimit nofile=65536 in Docker'

/**
 * What to say where so few files can be open that the program cannot even be read; null elsewhere.
 *
 * @param most how many files this process may have open, if anything says so
 */
export function whyTooFewFiles(most = openFileLimit()): string | null {
  if (most === null || most >= LEAST_FILES) return null
  return `this process may have only ${most} files open, and ${LEAST_FILES} is the least: ${ADVICE}`
}

/**
 * How many connections this process can have so that each still finds a file to read or to write, with `wanted` as the
 * most. Node itself raises what may be open to the hard limit (`ulimit -Hn`).
 */
export function affordableConnections(wanted: number, most = openFileLimit()): number {
  return most === null ? wanted : Math.min(wanted, Math.max(8, Math.floor((most - OWN_FILES) / 2)))
}

/**
 * What to say about fewer connections than STORAGE_MAX_CONNECTIONS: nothing where they are many, and nobody has asked for
 * more of them.
 */
export function whyFewerConnections(
  most: number,
  { wanted, isDefault }: { wanted: number; isDefault: boolean },
): string | null {
  if (most >= wanted || (isDefault && most >= FEW)) return null
  return `only ${most} connections, not the ${wanted} of STORAGE_MAX_CONNECTIONS, since each may need a file besides: ${ADVICE}`
}

/** How many files this process may have open; null where nothing says so: on other systems than Linux. */
function openFileLimit(): number | null {
  try {
    const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
    return soft === undefined ? null : Number(soft)
  } catch {
    return null
  }
}
