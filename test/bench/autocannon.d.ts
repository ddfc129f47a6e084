/** What the bench uses of it; the package brings no types. */
declare module 'autocannon' {
  import type { EventEmitter } from 'node:events'

  interface Request {
    path?: string
  }
  interface Options {
    url: string
    connections: number
    /** In seconds. */
    duration?: number
    /** How many requests, instead of a duration. */
    amount?: number
    /** In seconds. */
    timeout: number
    method: string
    headers: Record<string, string>
    body?: string
    requests?: { setupRequest(request: Request): Request }[]
  }
  interface Result {
    errors: number
    /** In milliseconds. */
    latency: { p99: number }
  }
  interface Running extends EventEmitter<{ done: [Result] }> {
    on(event: 'response', listener: (client: unknown, status: number) => void): this
  }
  export default function autocannon(options: Options): Running
}
