import { demandCompliance } from '../lock-words.ts'
import type { Operation } from '../request.ts'
import { childText, malformed, type XmlElement } from '../xml-reader.ts'
import { missing } from './configuration.ts'

/** GET of a bucket's locks: that there may be some, and for how many days each version has one. */
export const getObjectLockConfiguration: Operation = {
  name: 'storage.s3.bucket.get_object_lock',
  async handle(request) {
    const caller = await request.caller()
    const { objectLock, retentionDays } = await request.services.buckets.get(caller, request.bucket)
    if (!objectLock) {
      return missing(
        request,
        'ObjectLockConfigurationNotFoundError',
        'Object Lock configuration does not exist for this bucket',
      )
    }
    return request.xml('ObjectLockConfiguration', {
      ObjectLockEnabled: 'Enabled',
      ...(retentionDays !== null && {
        Rule: { DefaultRetention: { Mode: 'COMPLIANCE', Days: retentionDays } },
      }),
    })
  },
}

/** PUT of them. What there is is not taken back, and days only grow. */
export const putObjectLockConfiguration: Operation = {
  name: 'storage.s3.bucket.put_object_lock',
  async handle(request) {
    const caller = await request.caller()
    const configuration = await request.readXml('ObjectLockConfiguration')
    if (childText(configuration, 'ObjectLockEnabled') !== 'Enabled') {
      throw malformed('ObjectLockEnabled must be Enabled')
    }
    const retentionDays = daysIn(configuration)
    await request.services.buckets.update(caller, request.bucket, { objectLock: true, retentionDays })
    return request.empty(200)
  },
}

/** A year has 365, as S3's documentation has it. */
const YEAR = 365

/** Null without a rule. @throws MalformedXML, NotImplemented */
function daysIn(configuration: XmlElement): number | null {
  const rule = configuration.children.find(({ name }) => name === 'Rule')
  if (!rule) return null
  const retention = rule.children.find(({ name }) => name === 'DefaultRetention')
  if (!retention) throw malformed('a Rule has a DefaultRetention')
  demandCompliance(childText(retention, 'Mode'))
  const [days, years] = [childText(retention, 'Days'), childText(retention, 'Years')]
  const text = days ?? years ?? ''
  const count = Number(text) * (days === undefined ? YEAR : 1)
  const isOne = (days === undefined) !== (years === undefined)
  if (isOne && /^[1-9]\d{0,4}$/.test(text) && count <= MAX_DAYS) return count
  throw malformed(`a DefaultRetention has Days or Years, and at most ${MAX_DAYS} days`)
}

const MAX_DAYS = 36_500
