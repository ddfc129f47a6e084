import { UUID } from '../../lib/uuid.ts'
import type { Location } from '../../model/location.ts'

/** The only place where a location becomes a key of the store, and back. */
export class ObjectKeys {
  /** @param prefix before every key; empty, or ends with a slash */
  constructor(readonly prefix: string) {}

  of({ bucket, version }: Location): string {
    if (!UUID.test(version)) throw new Error(`Not a version: ${version}`)
    return `${this.ofBucket(bucket)}${version}`
  }

  /** What the keys of a bucket begin with. */
  ofBucket(bucket: string): string {
    if (!UUID.test(bucket)) throw new Error(`Not a bucket: ${bucket}`)
    return `${this.prefix}${bucket}/`
  }

  /** @param tail a UUID */
  ofTail(at: Location, tail: string): string {
    if (!UUID.test(tail)) throw new Error(`Not a tail: ${tail}`)
    return `${this.ofTails(at)}${tail}`
  }

  /** What the keys of all tails of a version begin with. */
  ofTails(at: Location): string {
    return `${this.tails}${this.of(at).slice(this.prefix.length)}/`
  }

  /** What the keys of all tails begin with. */
  get tails(): string {
    return `${this.prefix}tails/`
  }

  /** Null for a key that is not a tail's. */
  tail(key: string): { location: Location; id: string } | null {
    if (!key.startsWith(this.tails)) return null
    const [bucket = '', version = '', id = '', ...more] = key.slice(this.tails.length).split('/')
    const isOurs = [bucket, version, id].every((part) => UUID.test(part)) && more.length === 0
    return isOurs ? { location: { bucket, version }, id } : null
  }

  /** Null for a key that is not an object's. */
  location(key: string): Location | null {
    if (!key.startsWith(this.prefix)) return null
    const [bucket = '', version = '', ...more] = key.slice(this.prefix.length).split('/')
    return UUID.test(bucket) && UUID.test(version) && more.length === 0 ? { bucket, version } : null
  }
}
