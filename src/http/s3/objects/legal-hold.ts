import { parseHold } from '../lock-words.ts'
import type { Operation } from '../request.ts'
import { childText } from '../xml-reader.ts'
import { lockOf, lockVersion } from './locked-version.ts'

/** GET of whether a version is held. */
export const getObjectLegalHold: Operation = {
  name: 'storage.s3.object.get_legal_hold',
  ofVersions: true,
  async handle(request) {
    const { legalHold } = await lockOf(request)
    return request.xml('LegalHold', { Status: legalHold ? 'ON' : 'OFF' })
  },
}

/** PUT of that it is. That it is not is told only where it is so already: an operator alone lets it go (decision 0071). */
export const putObjectLegalHold: Operation = {
  name: 'storage.s3.object.put_legal_hold',
  ofVersions: true,
  async handle(request) {
    const caller = await request.caller()
    const legalHold = parseHold(childText(await request.readXml('LegalHold'), 'Status'))
    await lockVersion(request, caller, { legalHold })
    return request.empty(200)
  },
}
