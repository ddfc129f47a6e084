import type { NumberClaim } from '../../src/backend/resumable-backend.ts'
import { StorageError } from '../../src/model/errors.ts'

/** The claims of one version's numbers, as the servers keep them in their database. */
export class NumberClaims {
  readonly #claimed = new Set<number>()
  /** What is noted for all parts. */
  notes: string | null = null
  /** When the version will never be made. */
  hasEnded = false

  /** Undefined when the number is another part's. */
  claim(number: number): NumberClaim | undefined {
    if (this.#claimed.has(number)) return undefined
    this.#claimed.add(number)
    return {
      notes: this.notes,
      note: async (notes) => {
        if (this.hasEnded) throw new StorageError('NoSuchUpload')
        this.notes ??= notes
        return this.notes
      },
      use: () => {},
    }
  }
}
