const BAR = 30

/** How often a terminal is written to, in milliseconds. */
const REDRAW_MS = 100

/** One line of progress on a terminal, written over and over; nothing anywhere else. */
export class Progress {
  #drawnAt = 0

  /** @param share of the work that is done, from 0 to 1, if that is known */
  show(text: string, share?: number): void {
    if (!process.stderr.isTTY || Date.now() - this.#drawnAt < REDRAW_MS) return
    this.#drawnAt = Date.now()
    process.stderr.write(`\r\x1b[K${share === undefined ? '' : `${bar(share)} `}${text}`)
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
