/** What a suite of faults has done; it prints this as one line at its end. */
export class Tally {
  rounds = 0
  /** Operations that were answered with success. */
  acknowledged = 0
  /** Acknowledged, and not there afterwards as they should be. */
  lost = 0
  /** Files that no row names, or entries for what is over, after a cleanup. */
  leaked = 0

  constructor(private readonly suite: string) {}

  print(): void {
    const { suite, rounds, acknowledged, lost, leaked } = this
    console.log(
      `${suite}: ${rounds} rounds, ${acknowledged} operations acknowledged, ${lost} lost, ${leaked} leaked`,
    )
  }
}
