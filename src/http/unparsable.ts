import type { Socket } from 'node:net'
import { StorageError } from '../model/errors.ts'
import type { Lingering } from './connection/lingering.ts'
import { newestOn, unansweredOn } from './connection/pipeline.ts'
import { rawAnswer } from './message/raw-answer.ts'
import { ALWAYS, headersOf, type RequestContext, type Surfaces } from './surface.ts'

/** What Node says of bytes that are no HTTP. */
export interface Unparsable extends Error {
  code?: string
  /** Those with the mistake, which need not be the first ones. */
  rawPacket?: Buffer
}

/**
 * Answers bytes that Node's parser does not take for HTTP. There may be no request yet, so this is written by
 * hand; never into another response, whose reader would take it for a part of that.
 */
export function answerUnparsable(
  error: Unparsable,
  socket: Socket,
  parts: { lingering: Lingering; surfaces: Surfaces },
): void {
  const { lingering, surfaces } = parts
  // It has been said that the connection is of no more use, and what comes is dropped.
  if (lingering.has(socket) && !socket.readableEnded && error.code !== 'ECONNRESET') {
    socket.end()
    return
  }
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const newest = newestOn(socket)?.exchange
  if (newest && !newest.incoming.complete) {
    const { outgoing } = newest
    // It is within the body of a request that has been answered, or is being, or waits for the answers before it.
    if (outgoing.writableEnded) socket.destroySoon()
    else if (outgoing.headersSent || outgoing.socket !== socket) socket.destroy()
    else {
      const status = sayLast(newest)
      // Whose bytes end too early has gone, most likely, and reads nothing.
      if (error.code !== 'HPE_INVALID_EOF_STATE') newest.rawStatus = status
    }
    return
  }
  const running = unansweredOn(socket)
  if (!running) sayLast()
  else if (!running.isFollowed) {
    // It came behind a whole request, which gets its own answer first.
    running.exchange.outgoing.once('finish', () => socket.writable && answerUnparsable(error, socket, parts))
    running.isFollowed = true
  }

  function sayLast(request?: RequestContext): number {
    const surface = request?.surface ?? surfaces.meantBy(error.rawPacket)
    const answer = surface.error(refusal(error), request)
    socket.end(rawAnswer(answer, request ? headersOf(request) : ALWAYS))
    lingering.begin(socket)
    return answer.status
  }
}

function refusal(cause: Error & { code?: string }): StorageError {
  switch (cause.code) {
    case 'HPE_HEADER_OVERFLOW':
      return new StorageError('HeadersTooLarge', { cause })
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new StorageError('RequestTimeout', { cause })
    case 'HPE_INVALID_TRANSFER_ENCODING': // RFC 9112 §6.1, §6.3
      return new StorageError(isAboutLength(cause) ? 'NotHttp' : 'UnknownTransferCoding', { cause })
    case 'HPE_INVALID_URL': // Node takes no raw UTF-8 in a target, though some clients send it.
      return new StorageError('NotHttp', {
        cause,
        message: 'The path of the request must be percent-encoded',
      })
    default:
      return new StorageError('NotHttp', { cause })
  }
}

/** Whether it is one beside a length that the parser refuses, and not the coding. */
function isAboutLength(cause: Error & { reason?: string }): boolean {
  return cause.reason?.includes('Content-Length') ?? false
}
