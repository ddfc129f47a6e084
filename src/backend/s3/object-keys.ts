import { UUID } from '../../lib/uuid.ts'
import type { Location } from '../../model/location.ts'
import { CHECK, isCheckName } from '../check-name.ts'

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

  /** @param id a UUID */
  ofIncompletePart(at: Location, id: string): string {
    if (!UUID.test(id)) throw new Error(`Not an incomplete part: ${id}`)
    return `${this.ofIncompleteParts(at)}${id}`
  }

  /** What the keys of all incomplete parts of a version begin with. */
  ofIncompleteParts(at: Location): string {
    return `${this.incompleteParts}${this.of(at).slice(this.prefix.length)}/`
  }

  /** What the keys of all incomplete parts begin with. */
  get incompleteParts(): string {
    return `${this.prefix}tails/`
  }

  /** Null for a key that is not an incomplete part's. */
  incompletePart(key: string): { location: Location; id: string } | null {
    if (!key.startsWith(this.incompleteParts)) return null
    const [bucket = '', version = '', id = '', ...more] = key.slice(this.incompleteParts.length).split('/')
    const isOurs = [bucket, version, id].every((part) => UUID.test(part)) && more.length === 0
    return isOurs ? { location: { bucket, version }, id } : null
  }

  /** @param name see `newCheckName` */
  ofCheck(name: string): string {
    if (!isCheckName(name)) throw new Error(`Not the name of a check: ${name}`)
    return `${this.prefix}${name}`
  }

  /** What the keys of all checks begin with. */
  get checks(): string {
    return `${this.prefix}${CHECK}`
  }

  /** The name in a key; null for one that is not a check's. */
  check(key: string): string | null {
    if (!key.startsWith(this.checks)) return null
    const name = key.slice(this.prefix.length)
    return isCheckName(name) ? name : null
  }

  /** Null for a key that is not an object's. */
  location(key: string): Location | null {
    if (!key.startsWith(this.prefix)) return null
    const [bucket = '', version = '', ...more] = key.slice(this.prefix.length).split('/')
    return UUID.test(bucket) && UUID.test(version) && more.length === 0 ? { bucket, version } : null
  }
}
