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
}

export type UserMetadata = Record<string, unknown>

/** `missing`: no bytes. `corrupted`: not those that were uploaded. */
export type QuarantineReason = 'missing' | 'corrupted'
