import type { HttpBindings } from '@hono/node-server'
import type { Context } from 'hono'

/** What the line of a request says besides method, status and time. Never a secret. */
export interface RequestNotes {
  operation?: string
  bucket?: string
  path?: string
  /** In bytes. */
  size?: number
  user?: string | null
  role?: string
}

export interface Env {
  Bindings: HttpBindings
  Variables: {
    requestId: string
    /** Gives back the request's place: what it goes on with has a limit of its own. */
    leave: () => void
    log: RequestNotes
  }
}

export type AppContext = Context<Env>

/** Remembers for the line in the log what the request is about; of two objects, the source. */
export function logTarget(c: AppContext, bucket: string, name?: string): void {
  const about = c.get('log')
  about.bucket = bucket
  if (name !== undefined) about.path = name
}
