/** What keeps a version from being removed (docs/versions.md). */
export interface NewLock {
  /** Until when nobody removes it; undefined leaves what there is. */
  retainUntil?: Date | undefined
  /** Whether nobody removes it until an operator lets it go; false only says that it is not held. */
  legalHold?: boolean | undefined
}

export interface Lock {
  version: string
  /** Its own; null: none. */
  retainUntil: Date | null
  legalHold: boolean
  /** Its own, or by its bucket's days, whichever is later. */
  lockedUntil: Date | null
  /** Whether its bucket has locks. */
  canBeLocked: boolean
}

/** Whether it keeps a version from being removed at this moment. */
export function isLocked({ legalHold, lockedUntil }: Lock, now: Date): boolean {
  return legalHold || (lockedUntil !== null && lockedUntil > now)
}
