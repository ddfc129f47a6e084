import { demandLockable, parseHold } from '../lock-words.ts'
import type { Operation } from '../request.ts'
import { versionIn } from '../version-ids.ts'
import { childText } from '../xml-reader.ts'

/** GET of whether a version is held. */
export const getObjectLegalHold: Operation = {
  name: 'storage.s3.object.get_legal_hold',
  ofVersions: true,
  async handle(request) {
    const { c, services, bucket, name, query } = request
    const caller = await request.caller()
    const lock = await services.locks.find(caller, { bucket, name, version: versionIn(query) })
    c.env.notes.objectId = lock.id
    demandLockable(lock)
    return request.xml('LegalHold', { Status: lock.legalHold ? 'ON' : 'OFF' })
  },
}

/** PUT of that it is. That it is not is told only where it is so already: an operator alone lets it go (decision 0071). */
export const putObjectLegalHold: Operation = {
  name: 'storage.s3.object.put_legal_hold',
  ofVersions: true,
  async handle(request) {
    const { c, services, bucket, name, query } = request
    const caller = await request.caller()
    const legalHold = parseHold(childText(await request.readXml('LegalHold'), 'Status'))
    const lock = await services.locks.lock(caller, { bucket, name, version: versionIn(query) }, { legalHold })
    c.env.notes.objectId = lock.id
    c.env.notes.resourceId = lock.version
    return request.empty(200)
  },
}
