import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'

/** By how much it is nicer than others: it has a tenth of a core where the others want all (sched(7), "The nice value"). */
const LESS_URGENT = 10

/**
 * Lets all others go first who want a processor, from now on and for as long as this process lives; it still comes to its
 * end while they never rest. With Linux threads have priorities of their own, which those that they start inherit
 * (setpriority(2)); elsewhere 0 is the whole process.
 */
export function giveWay(): void {
  const priority = Math.min(19, getPriority() + LESS_URGENT)
  for (const thread of threads()) {
    try {
      setPriority(thread, priority)
    } catch {} // it has ended, or a sandbox forbids it
  }
  try {
    if (leadsSession()) writeFileSync('/proc/self/autogroup', String(priority))
  } catch {} // another system, or one that does not weigh sessions
}

function threads(): number[] {
  try {
    return readdirSync('/proc/self/task').map(Number)
  } catch {
    return [0]
  }
}

/** Desktops and small servers weigh sessions first, and threads only within one (sched(7), "The autogroup feature"). */
function leadsSession(): boolean {
  const stat = readFileSync('/proc/self/stat', 'utf8')
  const [, , , session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // the sixth field (proc_pid_stat(5))
  return Number(session) === process.pid
}
