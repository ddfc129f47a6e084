import { readdirSync, readFileSync } from 'node:fs'

/** From the state on (proc_pid_stat(5)); nothing once it has ended. */
export function statFieldsOf(path: string): string[] {
  const stat = readIfThere(path)
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/** Of each thread of a process (Linux only). */
export function nicenessOf(pid: number): number[] {
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads.map((thread) => Number(statFieldsOf(`/proc/${pid}/task/${thread}/stat`)[16]))
}

/** What the kernel says of a process; nothing once it has ended. */
export function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
