import { readFileSync } from 'node:fs'

/** Standard streams, timers, the log, the database's connections and the like. */
const OWN_FILES = 48

/**
 * How many connections this process can have so that each still finds a file to read or to write, with `wanted` as the
 * most. Node itself raises what may be open to the hard limit (`ulimit -Hn`).
 */
export function affordableConnections(wanted: number): number {
  const most = openFileLimit()
  return most === null ? wanted : Math.min(wanted, Math.max(8, Math.floor((most - OWN_FILES) / 2)))
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
