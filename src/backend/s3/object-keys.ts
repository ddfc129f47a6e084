import { UUID } from '../../uuid.ts'
import type { Location } from '../backend.ts'

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

  /** Null for a key that is not one of ours. */
  location(key: string): Location | null {
    if (!key.startsWith(this.prefix)) return null
    const [bucket = '', version = '', ...more] = key.slice(this.prefix.length).split('/')
    return UUID.test(bucket) && UUID.test(version) && more.length === 0 ? { bucket, version } : null
  }
}
