/** What requests are about, for limits that clients have of each kind. */
export const REQUEST_KINDS = ['read', 'write', 'sign', 'admin'] as const
export type RequestKind = (typeof REQUEST_KINDS)[number]

/** So many requests in such a time. */
export interface Rate {
  requests: number
  /** In milliseconds. */
  windowMs: number
}
