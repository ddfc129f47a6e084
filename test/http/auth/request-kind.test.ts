import { describe, expect, it } from 'vitest'
import { kindOf } from '../../../src/http/auth/request-kind.ts'
import { OPERATIONS } from '../../../src/http/s3/routes.ts'

describe('the kind of a request', () => {
  it.each([
    ['read', 'storage.object.get_public'],
    ['read', 'storage.object.get_signed'],
    ['read', 'object.get_authenticated_info'],
    ['read', 'storage.object.info_public'],
    ['read', 'storage.object.list_v2'],
    ['read', 'storage.bucket.get'],
    ['read', 'storage.bucket.list'],
    ['read', 'storage.event.read'],
    ['read', 'storage.health'],
    ['read', 'storage.health.read'],
    ['read', 'storage.tus.upload.get_signed'],
    ['write', 'storage.object.upload'],
    ['write', 'storage.object.upload_signed'],
    ['write', 'storage.object.delete_many'],
    ['write', 'storage.object.copy'],
    ['write', 'storage.tus.upload.part'],
    ['write', 'storage.tus.upload.create_signed'],
    ['sign', 'storage.object.sign'],
    ['sign', 'storage.object.sign_many'],
    ['sign', 'storage.object.sign_upload_url'],
    ['admin', 'storage.bucket.create'],
    ['admin', 'storage.bucket.empty'],
    ['admin', 'storage.webhook.list'],
    ['admin', 'storage.credential.get'],
    ['admin', 'storage.backup.create'],
  ])('is %s of %s', (kind, operation) => expect(kindOf(operation)).toBe(kind))

  it('is by its method with S3, but for what is changed of buckets', () => {
    const wrong = Object.entries(OPERATIONS).flatMap(([level, operations]) =>
      Object.entries(operations)
        .map(([route, { name }]) => [route, kindOf(name), usual(level, route)] as const)
        .filter(([, kind, expected]) => kind !== expected),
    )
    expect(wrong).toEqual([])
  })
})

function usual(level: string, route: string) {
  if (/^(?:GET|HEAD)\b/.test(route)) return 'read'
  // Forms, and many deletions at once: of objects.
  return level === 'bucket' && !route.startsWith('POST') ? 'admin' : 'write'
}
