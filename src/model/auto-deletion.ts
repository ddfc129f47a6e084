/** That an object goes by itself. */
export interface AutoDeletion {
  /** So many days after its bytes were written. */
  days: number
  at: Date | null
}
