import { MessageChannel, type MessagePort } from 'node:worker_threads'

/*
 * Node receives a body in chunks of up to 64 KiB, each with memory of its own outside of V8's heap. V8 counts it as if it
 * were in its heap, so that a heap of 25 MB is looked through again and again while a large body comes: once or twice for
 * each 64 MiB, which takes up to 30 ms of the main thread and 50 of its helpers, where all else takes 67 and 30. Memory
 * that is given back at once is not counted, and is still in the processor's cache when the next chunk gets it.
 */

/**
 * Nobody is at its other end. Made beforehand, as a port is closed by the event loop: until then it would keep what it is
 * given.
 */
const nowhere = closedPort()

/**
 * Gives back the memory of chunks that nobody needs any more, who then are empty. One that has only a part of its buffer is
 * left to the garbage collector: somebody else may have the rest.
 */
export function freeMemory(chunks: Uint8Array[]): void {
  const whole: ArrayBuffer[] = []
  for (const { buffer, byteLength } of chunks) {
    const isWhole = byteLength > 0 && byteLength === buffer.byteLength
    if (isWhole && buffer instanceof ArrayBuffer) whole.push(buffer)
  }
  if (whole.length === 0) return
  // What is transferred to a port that is closed is gone (HTML, "Message port post message steps"); `ArrayBuffer.transfer`
  // is not known to Node 20.
  nowhere.postMessage(null, whole)
}

function closedPort(): MessagePort {
  const { port1, port2 } = new MessageChannel()
  port2.close()
  return port1
}
