import type { Context } from 'hono'
import type { Exchange } from './surface.ts'

export interface Env {
  Bindings: Exchange
}

export type AppContext = Context<Env>

/** Remembers for whoever hears of the request's end what it is about; of two objects, the source. */
export function logTarget(c: AppContext, bucket: string, name?: string): void {
  const { notes } = c.env
  notes.bucket = bucket
  if (name !== undefined) notes.path = name
}
