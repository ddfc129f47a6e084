/** One thing that a check has looked at, and what it found. */
export interface CheckResult {
  /** What was looked at, in a word or two. */
  about: string
  /** A warning is something to know that keeps nothing from working. */
  state: 'ok' | 'warning' | 'failed'
  /** One sentence; of a failure, what is wrong and which setting to look at. Without secrets. */
  says: string
}
