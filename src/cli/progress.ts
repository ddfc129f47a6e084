const BAR = 30

/** How often a terminal is written to, in milliseconds. */
const REDRAW_MS = 100

/** How often anything else is written to, such as the log of a container, in milliseconds. */
const LINE_MS = 30_000

/** One line of progress on a terminal, written over and over; anywhere else a line now and then. */
export class Progress {
  #drawnAt = process.stderr.isTTY ? 0 : Date.now()

  /** @param share of the work that is done, from 0 to 1, if that is known */
  show(text: string, share?: number): void {
    const { isTTY } = process.stderr
    if (Date.now() - this.#drawnAt < (isTTY ? REDRAW_MS : LINE_MS)) return
    this.#drawnAt = Date.now()
    if (!isTTY) process.stderr.write(`${text}\n`)
    else process.stderr.write(`\r\x1b[K${share === undefined ? '' : `${bar(share)} `}${text}`)
  }

  /** Takes the line away. */
  clear(): void {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  }
}

function bar(share: number): string {
  const filled = Math.round(Math.min(1, share) * BAR)
  return `[${'#'.repeat(filled)}${' '.repeat(BAR - filled)}] ${Math.floor(Math.min(1, share) * 100)} %`
}
