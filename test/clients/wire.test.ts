import { beforeAll, expect, it } from 'vitest'
import { describeClientInBothModes, ok } from './describe-client.ts'

const BUCKET = [
  'allowed_mime_types',
  'created_at',
  'file_size_limit',
  'id',
  'name',
  'owner',
  'public',
  'updated_at',
  'versioning_status',
]
const OWN_BUCKET = [
  'max_file_size',
  'max_versions',
  'object_lock',
  'path_template',
  'policy',
  'retention_days',
  'trash_days',
  'version_retention_days',
]
const OWN_STATS = ['file_count', 'total_size']
const OWN_OBJECT = [
  'bucket',
  'checksum',
  'content_type',
  'created_at',
  'id',
  'metadata',
  'owner_id',
  'path',
  'size',
  'updated_at',
]
const ROW = [
  'bucket_id',
  'created_at',
  'id',
  'last_accessed_at',
  'metadata',
  'name',
  'owner',
  'owner_id',
  'updated_at',
  'user_metadata',
  'version',
]
const LISTED = ['created_at', 'id', 'last_accessed_at', 'metadata', 'name', 'updated_at']
/** Supabase's where a bucket keeps versions: of any other one only by default. */
const OF_VERSIONS = ['archived_at', 'is_delete_marker', 'is_versioned']
/** What an object says of itself (docs/attributes.md). */
const OF_ITSELF = ['access_level', 'asset_type', 'enable_indexing', 'file_name', 'organization_id', 'tags']
const OWN_SIGNED = ['expires_at', 'id', 'url']

type Request = [method: string, path: string, body?: string | object, headers?: Record<string, string>]

/** Requests that succeed, in this order; Supabase's fields of each answer (wire §2, §3), and our own. */
const STEPS: [what: string, request: Request, ownStatus: number, fields: string[], own: string[]][] = [
  ['create a bucket', ['POST', '/bucket', { name: 'b' }], 201, ['name'], []],
  ['get a bucket', ['GET', '/bucket/b'], 200, BUCKET, OWN_BUCKET],
  ['get a bucket with stats', ['GET', '/bucket/b?stats=true'], 200, BUCKET, [...OWN_BUCKET, ...OWN_STATS]],
  ['list buckets', ['GET', '/bucket'], 200, [...BUCKET, 'type'], OWN_BUCKET],
  [
    'list buckets with stats',
    ['GET', '/bucket?stats=true'],
    200,
    [...BUCKET, 'type'],
    [...OWN_BUCKET, ...OWN_STATS],
  ],
  ['update a bucket', ['PUT', '/bucket/b', { public: true }], 200, ['message'], []],
  ['upload', ['POST', '/object/b/a.txt', 'x'], 201, ['Id', 'Key'], OWN_OBJECT],
  ['replace', ['PUT', '/object/b/a.txt', 'xy'], 200, ['Id', 'Key'], OWN_OBJECT],
  ['replace nothing', ['PUT', '/object/b/new.txt', 'x'], 201, ['Id', 'Key'], OWN_OBJECT],
  ['upsert', ['POST', '/object/b/a.txt', 'xyz', { 'x-upsert': 'true' }], 201, ['Id', 'Key'], OWN_OBJECT],
  [
    'info',
    ['GET', '/object/info/b/a.txt'],
    200,
    [
      'bucket_id',
      'cache_control',
      'content_encoding',
      'content_type',
      'created_at',
      'etag',
      'id',
      'last_modified',
      'metadata',
      'name',
      'size',
      'version',
    ],
    ['checksum', ...OF_ITSELF, ...OF_VERSIONS],
  ],
  [
    'copy',
    ['POST', '/object/copy', { bucketId: 'b', sourceKey: 'a.txt', destinationKey: 'c.txt' }],
    200,
    ['Id', 'Key', ...ROW],
    [...OWN_OBJECT, ...OF_VERSIONS],
  ],
  [
    'move',
    ['POST', '/object/move', { bucketId: 'b', sourceKey: 'c.txt', destinationKey: 'd.txt' }],
    200,
    ['message'],
    [],
  ],
  ['list', ['POST', '/object/list/b', { prefix: '' }], 200, LISTED, ['version', ...OF_VERSIONS]],
  ['list v2', ['POST', '/object/list-v2/b', {}], 200, ['folders', 'hasNext', 'objects'], []],
  [
    'list v2, more to come',
    ['POST', '/object/list-v2/b', { limit: 1 }],
    200,
    ['folders', 'hasNext', 'nextCursor', 'nextCursorKey', 'objects'],
    [],
  ],
  ['sign', ['POST', '/object/sign/b/a.txt', { expiresIn: 60 }], 200, ['signedURL'], OWN_SIGNED],
  [
    'sign many',
    ['POST', '/object/sign/b', { expiresIn: 60, paths: ['a.txt'] }],
    200,
    ['error', 'path', 'signedURL'],
    OWN_SIGNED,
  ],
  [
    'sign an upload',
    ['POST', '/object/upload/sign/b/e.txt', {}],
    200,
    ['token', 'url'],
    ['expires_at', 'id', 'signed_url'],
  ],
  ['delete many', ['DELETE', '/object/b', { prefixes: ['a.txt'] }], 200, ROW, []],
  ['empty a bucket', ['POST', '/bucket/b/empty', {}], 200, ['message'], []],
  ['delete a bucket', ['DELETE', '/bucket/b', {}], 200, ['message'], []],
]

// A client that compares what it gets with what Supabase sends finds nothing to complain about.
describeClientInBothModes((clients) => {
  const expected = (fields: string[], own: string[]) =>
    [...new Set([...fields, ...(clients.isSupabase ? [] : own)])].sort()

  it("answers every request with Supabase's fields, and with its own only by default", async () => {
    for (const [what, [method, path, body = null, headers = {}], ownStatus, fields, own] of STEPS) {
      const response = await clients.server.request(method, path, { body, headers })
      const answer = await response.json()
      const shown = Array.isArray(answer) ? answer[0] : answer

      expect({ what, status: response.status, fields: Object.keys(shown).sort() }).toEqual({
        what,
        status: clients.isSupabase ? 200 : ownStatus,
        fields: expected(fields, own),
      })
    }
  })

  it('answers a signed upload, and the deletion of one object', async () => {
    const bucket = await clients.bucket()
    const { signedUrl } = ok(await clients.service.from(bucket).createSignedUploadUrl('a.txt'))

    const put = await fetch(signedUrl, { method: 'PUT', body: 'x' })
    expect(put.status).toBe(clients.isSupabase ? 200 : 201)
    expect(Object.keys((await put.json()) as object).sort()).toEqual(expected(['Key'], OWN_OBJECT))
    const deleted = await clients.server.request('DELETE', `/object/${bucket}/a.txt`)
    expect([deleted.status, await deleted.text()]).toEqual(
      clients.isSupabase ? [200, '{"message":"Successfully deleted"}'] : [204, ''],
    )
  })

  beforeAll(() => clients.server.createBucket('errors'))

  it.each([
    ['an object', 'GET', '/object/errors/absent', 404, 'NoSuchKey', 'not_found'],
    ['an object of no bucket', 'GET', '/object/absent/a', 404, 'NoSuchBucket', 'Bucket not found'],
    ['a bucket', 'GET', '/bucket/absent', 404, 'NoSuchBucket', 'Bucket not found'],
    ['a route', 'GET', '/nowhere', 404, 'InvalidRequest', 'Not Found'],
    ['a limit', 'GET', '/bucket?limit=0', 400, 'InvalidRequest', 'Error'],
  ])('answers an error about %s in four fields', async (_what, method, path, status, code, error) => {
    const response = await clients.server.request(method, path)

    const isAlwaysTrue = path === '/nowhere'
    expect(response.status).toBe(clients.isSupabase && !isAlwaysTrue ? 400 : status)
    const body = await response.json()
    expect(body).toEqual({ statusCode: String(status), error, message: expect.any(String), code })
  })
})
