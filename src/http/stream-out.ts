import type { ServerResponse } from 'node:http'
import { pipeline, type Readable } from 'node:stream'
import type { AppContext } from './env.ts'

/**
 * Sends a stream past Hono, since a web stream in between costs most of the speed. What middleware has to say is
 * on Node's response already; `pipeline` closes the file when the client goes away.
 */
export function streamOut(
  c: AppContext,
  status: number,
  headers: Record<string, string>,
  bytes: Readable,
): void {
  const outgoing = c.env.outgoing as ServerResponse // its type also knows HTTP/2, which we do not serve
  if (outgoing.destroyed) {
    // The client went away meanwhile. Newer Nodes refuse to pipe then, and would leave the file open.
    bytes.destroy()
    return
  }
  outgoing.writeHead(status, headers)
  // The request's line in the log tells of a response that was cut off.
  pipeline(bytes, outgoing, () => {})
}
