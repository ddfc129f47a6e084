import { missing } from '../buckets/configuration.ts'
import { demandCompliance, demandLockable, parseMoment } from '../lock-words.ts'
import type { Operation } from '../request.ts'
import { versionIn } from '../version-ids.ts'
import { childText } from '../xml-reader.ts'

/** GET of until when nobody removes a version, by a moment of its own or the days of its bucket. */
export const getObjectRetention: Operation = {
  name: 'storage.s3.object.get_retention',
  ofVersions: true,
  async handle(request) {
    const { c, services, bucket, name, query } = request
    const caller = await request.caller()
    const lock = await services.locks.find(caller, { bucket, name, version: versionIn(query) })
    c.env.notes.objectId = lock.id
    demandLockable(lock)
    if (lock.lockedUntil === null) {
      return missing(
        request,
        'NoSuchObjectLockConfiguration',
        'The specified object does not have a ObjectLock configuration',
      )
    }
    return request.xml('Retention', { Mode: 'COMPLIANCE', RetainUntilDate: lock.lockedUntil.toISOString() })
  },
}

/** PUT of it, which only moves it further away. */
export const putObjectRetention: Operation = {
  name: 'storage.s3.object.put_retention',
  ofVersions: true,
  async handle(request) {
    const { c, services, bucket, name, query } = request
    const caller = await request.caller()
    const retention = await request.readXml('Retention')
    demandCompliance(childText(retention, 'Mode'))
    const retainUntil = parseMoment(childText(retention, 'RetainUntilDate'))
    const lock = await services.locks.lock(
      caller,
      { bucket, name, version: versionIn(query) },
      { retainUntil },
    )
    c.env.notes.objectId = lock.id
    c.env.notes.resourceId = lock.version
    return request.empty(200)
  },
}
