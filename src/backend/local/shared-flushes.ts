import { flushPath } from '../../lib/fsync.ts'

/**
 * Flushes of folders, one at a time for each. Who comes while one is under way waits for the next, which begins after he has
 * made his file; all who wait for it share it. On a disk that takes its time most files cost one flush then, not two.
 */
export class SharedFlushes {
  readonly #running = new Map<string, Promise<void>>()
  /** Those that have not begun: what has got its name by now is covered. */
  readonly #next = new Map<string, Promise<void>>()

  /** Makes the names that are in a folder now durable. @throws as the file system does */
  flush(folder: string): Promise<void> {
    const next = this.#next.get(folder)
    if (next) return next
    const running = this.#running.get(folder)
    const begin = () =>
      flushPath(folder, () => {
        this.#running.set(folder, flushing)
        this.#next.delete(folder)
      })
    const flushing = (running ? running.then(begin, begin) : begin()).finally(() => {
      if (this.#next.get(folder) === flushing) this.#next.delete(folder) // it could not even begin
      if (this.#running.get(folder) === flushing) this.#running.delete(folder)
    })
    this.#next.set(folder, flushing)
    return flushing
  }
}
