import { missing } from '../buckets/configuration.ts'
import { demandCompliance, parseMoment } from '../lock-words.ts'
import type { Operation } from '../request.ts'
import { childText } from '../xml-reader.ts'
import { lockOf, lockVersion } from './locked-version.ts'

/** GET of until when nobody removes a version, by a moment of its own or the days of its bucket. */
export const getObjectRetention: Operation = {
  name: 'storage.s3.object.get_retention',
  ofVersions: true,
  async handle(request) {
    const { lockedUntil } = await lockOf(request)
    if (lockedUntil === null) {
      return missing(
        request,
        'NoSuchObjectLockConfiguration',
        'The specified object does not have a ObjectLock configuration',
      )
    }
    return request.xml('Retention', { Mode: 'COMPLIANCE', RetainUntilDate: lockedUntil.toISOString() })
  },
}

/** PUT of it, which only moves it further away. */
export const putObjectRetention: Operation = {
  name: 'storage.s3.object.put_retention',
  ofVersions: true,
  async handle(request) {
    const caller = await request.caller()
    const retention = await request.readXml('Retention')
    demandCompliance(childText(retention, 'Mode'))
    const retainUntil = parseMoment(childText(retention, 'RetainUntilDate'))
    await lockVersion(request, caller, { retainUntil })
    return request.empty(200)
  },
}
