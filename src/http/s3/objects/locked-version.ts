import type { Caller } from '../../../model/caller.ts'
import type { Lock, NewLock } from '../../../model/object-lock.ts'
import { demandLockable } from '../lock-words.ts'
import type { S3Request } from '../request.ts'
import { versionIn } from '../version-ids.ts'

/** What keeps the version that a request names. @throws as `ObjectLocks.find`; InvalidRequest where none can be locked */
export async function lockOf(request: S3Request): Promise<Lock> {
  const { c, services, bucket, name, query } = request
  const caller = await request.caller()
  const lock = await services.locks.find(caller, { bucket, name, version: versionIn(query) })
  c.env.notes.objectId = lock.id
  demandLockable(lock)
  return lock
}

/** Locks the version that a request names. @throws as `ObjectLocks.lock` */
export async function lockVersion(request: S3Request, caller: Caller, wanted: NewLock): Promise<void> {
  const { c, services, bucket, name, query } = request
  const lock = await services.locks.lock(caller, { bucket, name, version: versionIn(query) }, wanted)
  c.env.notes.objectId = lock.id
  c.env.notes.resourceId = lock.version
}
