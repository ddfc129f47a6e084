import type { Readable } from 'node:stream'
import type { ResponseHeaders } from '../../backend/backend.ts'
import type { ByteRange } from '../../model/location.ts'
import type { Validators } from '../../model/write-condition.ts'

/** What a reader is told of bytes (RFC 9110 §8). */
export interface RepresentationMetadata extends Validators {
  /** In bytes; null when unknown. */
  size: number | null
  contentType: string
  cacheControl: string
  contentEncoding: string | null
  robotsTag: string | null
  /** SHA-256 of all the bytes, in hex; null when unknown. */
  checksum: string | null
}

/**
 * What a GET can be answered with, whole or in part: bytes that do not change, and what is told of them (RFC 9110
 * §3.2). Conditions, ranges and headers need to know no more, wherever the bytes come from.
 */
export interface Representation extends RepresentationMetadata {
  /**
   * Opens the bytes, or those of them that are in the range, for whoever has decided to send them.
   *
   * @param direct present when the reader may as well be sent to an address of the store, which answers with these
   *   headers
   * @throws MissingBytes when there are none, or not as many as `size` says; CorruptedBytes, BackendUnavailable
   */
  open(part: 'whole' | ByteRange, direct?: ResponseHeaders): Promise<OpenBytes>
}

/** Few bytes come as one buffer. */
export type OpenBytes = Uint8Array<ArrayBuffer> | Readable | URL
