import { expect, it } from 'vitest'
import { auditedOperation } from '../../../src/http/middleware/audit-operations.ts'
import { OPERATIONS } from '../../../src/http/s3/routes.ts'

/** What becomes of an object is told of when there is one. */
const OF_NO_OBJECT = ['storage.s3.upload.abort_multipart']

it('has all of the S3 protocol that changes something', () => {
  const changing = Object.values(OPERATIONS).flatMap((operations) =>
    Object.entries(operations).flatMap(([route, { name }]) => (/^(?:GET|HEAD)\b/.test(route) ? [] : [name])),
  )
  expect(changing.length).toBeGreaterThan(10)
  const untold = changing.filter((name) => {
    const audited = auditedOperation(name, undefined)
    return audited === undefined || audited.isRead
  })
  expect(untold).toEqual(OF_NO_OBJECT)
})
