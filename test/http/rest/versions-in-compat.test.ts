import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { VersionSteps } from '../../support/version-steps.ts'

/** Versions under STORAGE_COMPAT=supabase: what goes wrong is HTTP 400, and its body says which (wire §1.6, §13.2). */

let server: TestServer
let steps: VersionSteps
let bucket: string
beforeAll(async () => {
  server = await startTestServer({ STORAGE_COMPAT: 'supabase' })
  steps = new VersionSteps(server)
})
beforeEach(async () => {
  bucket = await steps.newBucket()
})
afterAll(() => server.close())

async function refusal(method: string, path: string, body?: object | string) {
  const answer = await steps.ask(method, path, body === undefined ? {} : { body })
  const { statusCode, error, message } = (await answer.json()) as Record<string, string>
  return [answer.status, statusCode, error, message]
}

const gone = [400, '404', 'not_found', 'Object not found']
const duplicate = [400, '409', 'Duplicate', 'The resource already exists']

it('a version that is not there is an object that is not', async () => {
  await steps.uploaded('a', 'one')
  const sourceVersionId = randomUUID()
  const query = `versionId=${sourceVersionId}`
  const route = { bucketId: bucket, sourceKey: 'a', destinationKey: 'b', sourceVersionId }
  expect(await refusal('GET', `/object/${bucket}/a?${query}`)).toEqual(gone)
  expect(await refusal('GET', `/object/info/${bucket}/a?${query}`)).toEqual(gone)
  expect(await refusal('DELETE', `/object/${bucket}/a?${query}`)).toEqual(gone)
  expect(await refusal('POST', '/object/copy', route)).toEqual(gone)
  expect(await refusal('POST', '/object/move', route)).toEqual(gone)
  expect(
    await refusal('POST', `/object/sign/${bucket}/a`, { expiresIn: 60, versionId: sourceVersionId }),
  ).toEqual(gone)
})

it('a name that is deleted is none, nor is its marker an object', async () => {
  const [first] = await steps.uploaded('a', 'one')
  const prefixes = ['a', 'never', 'there', 'was']
  const rows = Object.values(await steps.json('DELETE', `/object/${bucket}`, { body: { prefixes } }))
  expect(rows).toMatchObject(prefixes.map((name) => ({ name, is_delete_marker: true })))
  const { version } = Object(rows[0])
  const route = { bucketId: bucket, sourceKey: 'a', destinationKey: 'b' }
  expect(await refusal('GET', `/object/${bucket}/a`)).toEqual(gone)
  expect(await refusal('GET', `/object/${bucket}/a?versionId=${version}`)).toEqual(gone)
  expect(await refusal('POST', '/object/copy', route)).toEqual(gone)
  expect(await refusal('POST', '/object/move', route)).toEqual(gone)
  expect(await steps.texts('a', [first ?? ''])).toEqual(['one'])
  expect((await steps.ask('POST', `/object/${bucket}/a`, { body: 'over a marker' })).status).toBe(200)
})

it('what is there is not replaced unasked', async () => {
  const [first] = await steps.uploaded('a', 'one', 'two')
  await steps.uploaded('b', 'there')
  const route = { bucketId: bucket, sourceKey: 'a', destinationKey: 'b' }
  for (const body of [route, { ...route, sourceVersionId: first }]) {
    expect(await refusal('POST', '/object/move', body)).toEqual(duplicate)
    expect(await refusal('POST', '/object/copy', body)).toEqual(duplicate)
  }
  expect(await refusal('POST', `/object/${bucket}/a`, 'three')).toEqual(duplicate)
  expect(await steps.history('a')).toEqual(['2', '1'])
})

it('a bucket says which ways its versions go, and that it is not empty while it has some', async () => {
  const disabled = `/bucket/${bucket}`
  const cannot = (from: string, to: string) => [
    400,
    '400',
    expect.any(String),
    expect.stringContaining(`Cannot transition bucket versioning status from ${from} to ${to}`),
  ]
  expect(await refusal('PUT', disabled, { versioning_status: 'DISABLED' })).toEqual(
    cannot('ENABLED', 'DISABLED'),
  )
  await steps.uploaded('a', 'one')
  await steps.ask('DELETE', `/object/${bucket}/a`)
  expect((await refusal('DELETE', disabled)).slice(0, 2)).toEqual([400, '409'])
  await steps.newBucket({})
  expect(await refusal('PUT', `/bucket/${steps.bucket}`, { versioning_status: 'SUSPENDED' })).toEqual(
    cannot('DISABLED', 'SUSPENDED'),
  )
})

it('an object in a list, in info and in the answer of a copy says which version it is, unless its bucket has never kept any', async () => {
  const said = { archived_at: null, is_versioned: true, is_delete_marker: false }
  const [version] = await steps.uploaded('in/a', 'one')
  const route = { bucketId: bucket, sourceKey: 'in/a', destinationKey: 'b' }
  expect(await steps.json('POST', '/object/copy', { body: route })).toMatchObject(said)
  expect(await steps.json('GET', `/object/info/${bucket}/in/a`)).toMatchObject({ ...said, version })
  const list = (body: object) => steps.json('POST', `/object/list/${bucket}`, { body })
  const listV2 = (body: object) => steps.json('POST', `/object/list-v2/${bucket}`, { body })
  const folder = { version: null, archived_at: null, is_versioned: null, is_delete_marker: null }
  for (const column of ['name', 'created_at']) {
    for (const order of ['asc', 'desc']) {
      const sortBy = { column, order }
      expect(Object.values(await list({ prefix: 'in', sortBy }))).toMatchObject([{ ...said, version }])
      expect(Object.values(await list({ prefix: '', search: 'in', sortBy }))).toMatchObject([folder])
      expect(await listV2({ prefix: 'in/', sortBy })).toMatchObject({ objects: [{ ...said, version }] })
    }
  }

  const plain = await steps.newBucket({})
  const [unversioned] = await steps.uploaded('a', 'one')
  const fields = Object.keys(said)
  const copied = await steps.json('POST', '/object/copy', {
    body: { bucketId: plain, sourceKey: 'a', destinationKey: 'b' },
  })
  const info = await steps.json('GET', `/object/info/${plain}/a`)
  const [listed] = Object.values(await steps.json('POST', `/object/list/${plain}`, { body: { prefix: '' } }))
  for (const answer of [copied, info, Object(listed)]) {
    expect(Object.keys(answer).filter((field) => fields.includes(field))).toEqual([])
  }
  expect(info).toMatchObject({ version: unversioned })
})

it('a version in a list, in info and in the answer of a bulk delete says which it is', async () => {
  const [first, second] = await steps.uploaded('a', 'one', 'two')
  const body = { prefix: '', noncurrentVersions: 'include', deleteMarkers: 'include' }
  const fields = { is_versioned: true, is_delete_marker: false }
  const listed = await steps.json('POST', `/object/list/${bucket}`, { body })
  expect(Object.values(listed)).toMatchObject([
    { ...fields, version: second, archived_at: null },
    { ...fields, version: first, archived_at: expect.any(String) },
  ])
  expect(await steps.json('GET', `/object/info/${bucket}/a?versionId=${first}`)).toMatchObject({
    ...fields,
    version: first,
    archived_at: expect.any(String),
  })
  const prefixes = [{ path: 'a', versionId: first }]
  const deleted = await steps.json('DELETE', `/object/${bucket}`, { body: { prefixes } })
  expect(Object.values(deleted)).toMatchObject([{ name: 'a', version: first, is_delete_marker: false }])
})
