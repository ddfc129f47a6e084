/**
 * A set of what is random enough, in eight bytes each: a million of them are 8 MB, where texts would be 150. Two of a million
 * share a fingerprint once in ten thousand sets. Filled first, then asked.
 */
export class Fingerprints {
  #values = new Float64Array(1024)
  #count = 0
  #marks: Uint8Array | undefined

  get size(): number {
    return this.#count
  }

  /** @param fingerprint see `ofHash`, `ofVersion` and `ofBoth` */
  add(fingerprint: number): void {
    if (this.#count === this.#values.length) {
      const larger = new Float64Array(2 * this.#count)
      larger.set(this.#values)
      this.#values = larger
    }
    this.#values[this.#count++] = fingerprint
  }

  has(fingerprint: number): boolean {
    return this.#find(fingerprint) !== -1
  }

  /** Notes that it was met. @returns whether it is in the set */
  mark(fingerprint: number): boolean {
    const index = this.#find(fingerprint)
    if (index === -1 || !this.#marks) return false
    this.#marks[index] = 1
    return true
  }

  isMarked(fingerprint: number): boolean {
    const index = this.#find(fingerprint)
    return index !== -1 && this.#marks?.[index] === 1
  }

  /** The first place where it is, so that one which is there twice has one mark. */
  #find(fingerprint: number): number {
    if (!this.#marks) {
      this.#values = this.#values.subarray(0, this.#count).sort()
      this.#marks = new Uint8Array(this.#count)
    }
    let low = 0
    let high = this.#count
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#values[middle] ?? 0) < fingerprint) low = middle + 1
      else high = middle
    }
    return this.#values[low] === fingerprint ? low : -1
  }
}

/** So many hexadecimal digits are a whole number that a double has exactly. */
const DIGITS = 13
const RANGE = 16 ** DIGITS

export function ofHash(sha256: string): number {
  return Number.parseInt(sha256.slice(0, DIGITS), 16)
}

/** Of its end: a UUID begins with a time in some of its kinds. */
export function ofVersion(version: string): number {
  return Number.parseInt(version.replaceAll('-', '').slice(-DIGITS), 16)
}

/** That a version has bytes with this hash. */
export function ofBoth(version: string, sha256: string): number {
  return (ofVersion(version) + ofHash(sha256)) % RANGE
}
