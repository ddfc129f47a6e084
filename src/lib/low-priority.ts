import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'

/** Who is one nicer weighs so many times less with Linux, where others want the same core (sched(7), "The nice value"). */
const WEIGHT_OF_ONE = 1.25

/**
 * Lets all others go first who want a processor, from now on and for as long as this process lives; it still comes to its
 * end while they never rest. With Linux threads have priorities of their own, which those that they start inherit
 * (setpriority(2)); elsewhere 0 is the whole process.
 *
 * @param share of a core that another one wants, too, in comparison with that one; 1 gives way to nobody
 */
export function giveWay(share: number): void {
  const nicer = Math.round(Math.log(1 / share) / Math.log(WEIGHT_OF_ONE))
  if (nicer === 0) return
  const priority = Math.min(19, getPriority() + nicer)
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
