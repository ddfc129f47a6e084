import { pipeline, type Readable } from 'node:stream'
import { FileStream } from '../../backend/local/file-stream.ts'
import type { AppContext } from '../env.ts'

/**
 * Sends a stream past Hono, since a web stream in between costs most of the speed. What middleware has to say is
 * on Node's response already. When the client goes away the stream is destroyed, which closes its file. A stream that
 * breaks takes the connection with it, so that nobody takes for whole what has come; the request's line in the log
 * tells of a response that was cut off.
 *
 * @param headers with the length: what follows must not be framed
 */
export function streamOut(
  c: AppContext,
  status: number,
  headers: Record<string, string>,
  bytes: Readable,
): void {
  const { incoming, outgoing } = c.env
  const { socket } = incoming
  if (outgoing.destroyed || socket.destroyed) {
    // The client went away meanwhile. Newer Nodes refuse to pipe then, and would leave the file open.
    bytes.destroy()
    return
  }
  // A response that waits for the one before it on its connection hears nothing of its end, up to Node 22.
  const stop = () => bytes.destroy()
  socket.once('close', stop)
  bytes.once('close', () => socket.off('close', stop))
  outgoing.writeHead(status, headers)
  if (bytes instanceof FileStream) bytes.sendTo(outgoing)
  else pipeline(bytes, outgoing, () => {})
}
