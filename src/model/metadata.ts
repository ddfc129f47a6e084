import type { Checksum } from './checksums.ts'
import type { ObjectParts } from './object-parts.ts'

/** What the server writes about the bytes, readable by users' policies (wire §8). */
export interface SystemMetadata {
  /** With its quotes. */
  eTag?: string
  /** In bytes. */
  size?: number
  /** In bytes; equals `size` once stored, and is the declared request length in a trial write. */
  contentLength?: number
  mimetype?: string
  cacheControl?: string
  /** ISO 8601. */
  lastModified?: string
  httpStatusCode?: number
  xRobotsTag?: string
  contentEncoding?: string
  /** Told to S3 clients alone; other surfaces have their own. */
  contentDisposition?: string
  contentLanguage?: string
  /** As it was sent: HTTP wants a date, and takes anything else for one that is past (RFC 9111 §5.3). */
  expires?: string
  /** By which S3 clients check the bytes. */
  checksum?: Checksum
  /** Of an object that came in parts by S3. */
  parts?: ObjectParts
}

export type UserMetadata = Record<string, unknown>

/** `missing`: no bytes. `corrupted`: not those that were uploaded. */
export type QuarantineReason = 'missing' | 'corrupted'
