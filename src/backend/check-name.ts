import { randomUUID } from 'node:crypto'
import { UUID } from '../lib/uuid.ts'

/**
 * What the names begin with of the few bytes by which a backend finds out whether its store can be written. They are
 * beside the buckets, which no bucket's UUID can be taken for. Who has written them removes them at once; what a process
 * leaves that is killed in between is an unfinished write, which the cleanup finds by this name.
 */
export const CHECK = '.check-'

/** Another one each time: servers that share a store may check at the same moment. */
export function newCheckName(): string {
  return `${CHECK}${randomUUID()}`
}

export function isCheckName(name: string): boolean {
  return name.startsWith(CHECK) && UUID.test(name.slice(CHECK.length))
}
