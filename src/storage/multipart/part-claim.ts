import type { NumberClaim } from '../../backend/resumable-backend.ts'
import type { Database } from '../../database/connection/client.ts'
import { unclaimPart } from '../../database/queries/multipart-parts.ts'
import { noteUpload } from '../../database/queries/multipart-uploads.ts'
import { StorageError } from '../../model/errors.ts'

/** What a claim of a part's number knows; the claim itself is a row. */
export interface PartClaimOptions {
  database: Database
  version: string
  number: number
  /** What the backend has noted for all parts. */
  notes: string | null
}

/** The claim of a part's number (decision 0044), which the statement has made that asked the policies about the part. */
export class PartClaim implements NumberClaim {
  readonly #options: PartClaimOptions
  #isUsed = false

  constructor(options: PartClaimOptions) {
    this.#options = options
  }

  get notes(): string | null {
    return this.#options.notes
  }

  async note(notes: string): Promise<string> {
    const { database, version } = this.#options
    const noted = await noteUpload(database, version, notes)
    if (noted === null) throw new StorageError('NoSuchUpload')
    return noted
  }

  use(): void {
    this.#isUsed = true
  }

  /** Leaves the number to the next part that has it, unless it is used. Never fails: it is used then. */
  async giveBack(): Promise<void> {
    if (this.#isUsed) return
    const { database, version, number } = this.#options
    await unclaimPart(database, version, number).catch(() => {})
  }
}
