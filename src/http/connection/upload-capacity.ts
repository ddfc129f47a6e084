import type { IncomingMessage } from 'node:http'
import { YieldingCapacity } from './yielding-capacity.ts'

/**
 * The places for uploads under way. An upload takes one when its caller's policies have allowed it, before its body is
 * waited for: who may not upload holds none.
 */
export class UploadCapacity {
  readonly #capacity: YieldingCapacity

  constructor({ uploads, minUploadRate }: { uploads: number; minUploadRate: number }) {
    this.#capacity = new YieldingCapacity({ most: uploads, minRate: minUploadRate, full: 'TooManyUploads' })
  }

  /**
   * Runs an upload, and gives its place back when it is over.
   *
   * @param work is given what takes the place, which may be called twice, and throws TooManyUploads
   * @throws TooManyUploads before anything is asked for an upload that would get no place now
   */
  async during<T>(incoming: IncomingMessage, work: (admit: () => void) => Promise<T>): Promise<T> {
    this.#capacity.check()
    try {
      return await work(() => this.#capacity.acquire(incoming))
    } finally {
      this.#capacity.release(incoming)
    }
  }
}
