/** The server cannot start, because one of its workers cannot. */
export class WorkerStartError extends Error {
  override readonly name = 'WorkerStartError'

  /** @param explanation what is wrong, in a line for a human */
  constructor(readonly explanation: string) {
    super(explanation)
  }
}
