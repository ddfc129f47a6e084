import type { ErrorCode } from '../../../src/model/errors.ts'
import { BUCKET_LIFECYCLE, noSuch, uploadMetadata, type World } from './world.ts'

/** What is sent, without the method and the path, which the document says. */
export interface Sent {
  /** Parts of the path, encoded when it is made. */
  params?: Record<string, string>
  /** The same, as they are. */
  raw?: Record<string, string>
  query?: Record<string, string>
  headers?: Record<string, string>
  body?: string | object
  /** The service key where an operation needs one, unless said; null is none. */
  token?: string | null
}

export type Make = (world: World) => Sent | Promise<Sent>

const IN_A_YEAR = new Date(Date.now() + 365 * 86_400_000).toISOString()

const CHUNK = { 'content-type': 'application/offset+octet-stream', 'upload-offset': '0' }
const TUS = { 'tus-resumable': '1.0.0' }
const OCTETS = { 'content-type': 'text/plain' }

const objectIn =
  (bucket: string, headers: Record<string, string> = {}): Make =>
  async (world) => ({ params: { bucket, key: await world.object(bucket) }, headers })

/** Of one of the routes that send an object, by who may ask there. */
function downloads(id: string, headId: string, bucket: string): Record<string, Make> {
  const head = { [headId]: objectIn(bucket), [`${headId} 304`]: objectIn(bucket, { 'if-none-match': '*' }) }
  return {
    [id]: objectIn(bucket),
    [`${id} 206`]: objectIn(bucket, { range: 'bytes=1-2' }),
    [`${id} 304`]: objectIn(bucket, { 'if-none-match': '*' }),
    ...head,
  }
}

const linked =
  (headers: Record<string, string> = {}): Make =>
  async (world) => {
    const key = await world.object()
    return { params: { bucket: 'box', key }, query: { token: world.link('download', key) }, headers }
  }

/** Of all of a bucket. */
async function folderToken(world: World, bucket = 'box', options = {}): Promise<string> {
  const body = { expiresIn: 60, prefix: true, ...options }
  const signed = await world.server.request('POST', `/object/sign/${bucket}/`, { body })
  return ((await signed.json()) as { signedURL: string }).signedURL.replace(/.*token=/, '')
}

const inFolder =
  (headers: Record<string, string> = {}): Make =>
  async (world) => ({
    raw: { token: await folderToken(world) },
    params: { bucket: 'box', key: await world.object() },
    headers,
  })

/** With the secret of a share. */
const visiting =
  (sent: Partial<Sent> = {}): Make =>
  async (world) => {
    const { id, token } = await world.share()
    return { ...sent, params: { id }, query: { token } }
  }

const uploading =
  (make: (world: World) => Promise<string> | string): Make =>
  async (world) => ({ params: { bucket: 'box', key: await make(world) }, body: 'hello', headers: OCTETS })

/** Of an upload that has begun. */
const ongoing =
  (isSigned: boolean, sent: Partial<Sent> = {}): Make =>
  async (world) => {
    const { id, signature } = await world.upload({ isSigned })
    const headers = { ...TUS, ...(isSigned && { 'x-signature': signature }), ...sent.headers }
    return { ...sent, params: { id }, headers }
  }

const creating =
  (isSigned: boolean): Make =>
  (world) => {
    const name = world.name()
    return {
      headers: {
        ...TUS,
        'upload-length': '20',
        'upload-metadata': uploadMetadata(name),
        ...(isSigned && { 'x-signature': world.link('upload', name) }),
      },
    }
  }

const resumable = (suffix: string, isSigned: boolean): Record<string, Make> => ({
  [`createUpload${suffix}`]: creating(isSigned),
  [`findUpload${suffix}`]: ongoing(isSigned),
  [`appendToUpload${suffix}`]: ongoing(isSigned, { headers: CHUNK, body: 'hello' }),
  [`appendToUpload${suffix}ByPut`]: ongoing(isSigned, { headers: CHUNK, body: 'hello' }),
  [`terminateUpload${suffix}`]: ongoing(isSigned),
  [`overrideMethod${suffix} 200`]: ongoing(isSigned, { headers: { 'x-http-method-override': 'HEAD' } }),
  [`overrideMethod${suffix}`]: ongoing(isSigned, {
    headers: { 'x-http-method-override': 'PATCH', ...CHUNK },
    body: 'hello',
  }),
})

const tagOf = async (world: World, path: string) =>
  (await world.server.request('GET', path)).headers.get('etag') ?? ''

/** What each operation is sent to be answered as it says: by its id, and the status where it has several. */
export const GOOD: Record<string, Make> = {
  getHome: () => ({ headers: { accept: 'application/json' } }),
  getStatus: () => ({}),
  getVersion: () => ({}),
  getHealth: () => ({}),
  getLiveness: () => ({}),
  getReadiness: () => ({}),
  getDetailedHealth: () => ({}),
  getMetrics: () => ({}),
  getDocumentation: () => ({}),
  getDocument: () => ({}),
  'getDocument 304': async (world) => ({
    headers: { 'if-none-match': await tagOf(world, '/documentation/json') },
  }),
  getDocumentationViewer: () => ({}),
  'getDocumentationViewer 304': () => ({ headers: { 'if-none-match': '*' } }),

  createBucket: (world) => ({ body: { name: world.name() } }),
  listBuckets: () => ({ query: { limit: '2', stats: 'true' } }),
  getBucket: () => ({ params: { id: 'box' } }),
  'getBucket 304': async (world) => ({
    params: { id: 'box' },
    headers: { 'if-none-match': await tagOf(world, '/bucket/box') },
  }),
  updateBucket: async (world) => ({ params: { id: await world.bucket() }, body: { public: true } }),
  updateBucketByPatch: async (world) => ({ params: { id: await world.bucket() }, body: { public: true } }),
  emptyBucket: async (world) => ({ params: { id: await world.bucket() } }),
  deleteBucket: async (world) => ({ params: { id: await world.bucket() } }),

  ...downloads('downloadPublicObject', 'headPublicObject', 'open'),
  ...downloads('downloadAuthenticatedObject', 'headAuthenticatedObject', 'box'),
  ...downloads('downloadObject', 'headObject', 'box'),
  publicObjectInfo: objectIn('open'),
  headPublicObjectInfo: objectIn('open'),
  'headPublicObjectInfo 304': objectIn('open', { 'if-none-match': '*' }),
  authenticatedObjectInfo: objectIn('box'),
  headAuthenticatedObjectInfo: objectIn('box'),
  'headAuthenticatedObjectInfo 304': objectIn('box', { 'if-none-match': '*' }),
  objectInfo: objectIn('box'),
  headObjectInfo: objectIn('box'),
  'headObjectInfo 304': objectIn('box', { 'if-none-match': '*' }),
  uploadObject: uploading((world) => world.name()),
  updateObject: uploading((world) => world.object()),
  'updateObject 201': uploading((world) => world.name()),
  moveObject: async (world) => ({
    body: { bucketId: 'box', sourceKey: await world.object(), destinationKey: world.name() },
  }),
  copyObject: async (world) => ({
    body: { bucketId: 'box', sourceKey: await world.object(), destinationKey: world.name() },
  }),
  changeObject: async (world) => ({
    params: { bucket: 'box', key: await world.object() },
    body: { auto_delete_after_days: 7 },
  }),
  getMetadata: async (world) => ({ params: { bucket: 'box', key: await world.object() } }),
  putMetadata: async (world) => ({ params: { bucket: 'box', key: await world.object() }, body: { a: 1 } }),
  deleteMetadata: async (world) => ({
    params: { bucket: 'box', key: await world.object() },
    query: { key: 'a' },
  }),
  uploadNamedObject: () => ({
    params: { bucket: 'box' },
    body: 'hello',
    headers: { ...OCTETS, 'x-file-name': 'a.txt' },
  }),
  getFile: async (world) => ({ params: { id: await world.fileId() } }),
  changeFile: async (world) => ({
    params: { id: await world.fileId() },
    body: { tags: ['a'], file_name: 'a.txt', metadata_merge: { a: 1 } },
  }),
  deleteFile: async (world) => ({ params: { id: await world.fileId() } }),
  'deleteFile 200': async (world) => ({
    params: { id: await world.fileId() },
    query: { permanent: 'true' },
  }),
  deleteObjects: async (world) => ({ params: { bucket: 'box' }, body: { prefixes: [await world.object()] } }),
  deleteObject: objectIn('box'),
  'deleteObject 200': async (world) => ({
    params: { bucket: 'box', key: await world.object() },
    query: { permanent: 'true' },
  }),
  listTrash: async (world) => {
    await world.trashed()
    return { query: { bucket: 'bin', limit: '1' } }
  },
  restoreTrash: async (world) => ({ body: { ids: [await world.trashed()] } }),
  deleteTrash: async (world) => ({ params: { id: await world.trashed() } }),
  emptyTrash: () => ({ body: { bucket: 'nowhere', older_than_days: 1 } }),
  listVersionsOfObject: objectIn('box'),
  getObjectLock: objectIn('box'),
  lockObject: async (world) => ({
    params: await world.lockable(),
    body: { retain_until: IN_A_YEAR },
  }),
  addVersion: async (world) => ({
    params: { bucket: 'kept', key: world.name() },
    body: 'hello',
    headers: { ...OCTETS, 'x-version-comment': 'the first one' },
  }),
  restoreVersion: async (world) => {
    const path = await world.object()
    return { body: { bucket: 'box', path, version_id: await world.version(path) } }
  },

  listObjects: () => ({ params: { bucket: 'box' }, body: { prefix: '', limit: 3 } }),
  listObjectsByCursor: () => ({ params: { bucket: 'box' }, body: { with_delimiter: true, limit: 3 } }),
  listObjectsOfAllBuckets: () => ({
    body: { filter: { min_size: 1 }, limit: 3, include: ['tags', 'metadata', 'status'], download_urls: 60 },
  }),

  signObject: async (world) => ({
    params: { bucket: 'box', key: await world.object() },
    body: { expiresIn: 60 },
  }),
  signObjects: async (world) => ({
    params: { bucket: 'box' },
    body: { expiresIn: 60, paths: [await world.object(), 'missing'] },
  }),
  signUpload: (world) => ({ params: { bucket: 'box', key: world.name() } }),
  revokeSigned: async (world) => ({ body: { bucket: 'box', path: await world.object() } }),
  downloadOfSignedFolder: inFolder(),
  'downloadOfSignedFolder 206': inFolder({ range: 'bytes=1-2' }),
  'downloadOfSignedFolder 304': inFolder({ 'if-none-match': '*' }),
  headOfSignedFolder: inFolder(),
  'headOfSignedFolder 304': inFolder({ 'if-none-match': '*' }),
  downloadSignedObject: linked(),
  'downloadSignedObject 206': linked({ range: 'bytes=1-2' }),
  'downloadSignedObject 304': linked({ 'if-none-match': '*' }),
  headSignedObject: linked(),
  'headSignedObject 304': linked({ 'if-none-match': '*' }),
  uploadSigned: async (world) => {
    const key = await world.object()
    const token = world.link('upload', key, { upsert: true })
    return { params: { bucket: 'box', key }, query: { token }, body: 'hello', headers: OCTETS }
  },
  'uploadSigned 201': (world) => {
    const key = world.name()
    return {
      params: { bucket: 'box', key },
      query: { token: world.link('upload', key) },
      body: 'hello',
      headers: OCTETS,
    }
  },

  createShare: async (world) => ({ body: { bucket: 'box', path: await world.object() } }),
  listShares: async (world) => {
    await world.share()
    return { query: { limit: '1' } }
  },
  revokeSharesOf: () => ({ query: { shared_by: 'somebody' } }),
  changeShare: async (world) => ({ params: { id: (await world.share()).id }, body: { expires_hours: 1 } }),
  revokeShare: async (world) => ({ params: { id: (await world.share()).id } }),
  getShare: visiting(),
  accessShare: visiting({ body: {} }),
  downloadShare: visiting(),
  headShareDownload: visiting(),
  deleteSharedFile: visiting(),

  ...resumable('', false),
  ...resumable('Signed', true),

  readEvents: () => ({ query: { bucket: 'box' } }),
  listWebhooks: () => ({}),
  createWebhook: () => ({ body: { url: 'https://example.com/', bucket: 'nobody' } }),
  getWebhook: async (world) => ({ params: { id: await world.webhook() } }),
  updateWebhook: async (world) => ({ params: { id: await world.webhook() }, body: { events: [] } }),
  deleteWebhook: async (world) => ({ params: { id: await world.webhook() } }),
  listDeadLetters: async (world) => ({ params: { id: (await world.deadLetter()).id } }),
  replayDeadLetters: async (world) => ({ params: { id: (await world.deadLetter()).id } }),
  deleteDeadLetter: async (world) => ({ params: { ...(await world.deadLetter()) } }),

  listAccessKeys: async (world) => {
    await world.accessKey()
    return { query: { limit: '1' } }
  },
  createAccessKey: () => ({ body: { role: 'authenticated', subject: 'somebody' } }),
  getAccessKey: async (world) => ({ params: { id: await world.accessKey() } }),
  revokeAccessKey: async (world) => ({ params: { id: await world.accessKey() } }),

  createBackup: async (world) => {
    await world.backup()
    return { body: {} }
  },
  listBackups: async (world) => {
    await world.backup()
    return { query: { limit: '1' } }
  },
  getBackup: async (world) => ({ params: { id: await world.backup() } }),
  deleteBackup: async (world) => ({ params: { id: await world.backup() } }),
  restoreBackup: async (world) => ({ params: { id: await world.backup() }, body: {} }),

  listLifecyclePolicies: async (world) => {
    await world.policy()
    return { query: { limit: '1' } }
  },
  createLifecyclePolicy: async (world) => ({
    body: { name: 'new', bucket: await world.bucket(), rules: [{ action: 'delete', after_days: 3 }] },
  }),
  getLifecyclePolicy: async (world) => ({ params: { id: await world.policy() } }),
  updateLifecyclePolicy: async (world) => ({
    params: { id: await world.policy() },
    body: { enabled: false },
  }),
  deleteLifecyclePolicy: async (world) => ({ params: { id: await world.policy() } }),
  runLifecyclePolicy: async (world) => ({
    params: { id: await world.policy() },
    query: { dry_run: 'true' },
  }),
  getBucketLifecycle: async (world) => ({ params: { id: await world.bucketWithPolicy() } }),
  putBucketLifecycle: async (world) => ({ params: { id: await world.bucket() }, body: BUCKET_LIFECYCLE }),
  deleteBucketLifecycle: async (world) => ({ params: { id: await world.bucketWithPolicy() } }),

  listAudit: async (world) => {
    await world.audited()
    return { query: { limit: '1' } }
  },
  listObjectAudit: async (world) => {
    const { subject, key } = await world.audited()
    return { token: await world.user(subject), params: { bucket: 'box', key } }
  },
}

const MALFORMED = '%ff'

/** Makes a request of one that would be answered well. */
type Spoil = (good: Sent, world: World) => Sent | Promise<Sent>

const withHeaders =
  (headers: Record<string, string>): Spoil =>
  (good) => ({ ...good, headers: { ...good.headers, ...headers } })

const withParams =
  (params: Record<string, string>): Spoil =>
  (good) => ({ ...good, params: { ...good.params, ...params } })

const withBody =
  (body: Record<string, unknown>): Spoil =>
  (good) => ({ ...good, body: { ...(good.body as object), ...body } })

const withQuery =
  (query: Record<string, string>): Spoil =>
  (good) => ({ ...good, query: { ...good.query, ...query } })

const asUser: Spoil = async (good, world) => ({ ...good, token: await world.user() })

const without =
  (...names: string[]): Spoil =>
  (good) => ({
    ...good,
    headers: Object.fromEntries(Object.entries(good.headers ?? {}).filter(([name]) => !names.includes(name))),
  })

/** An upload that cannot go on. */
const ended =
  (end: (upload: Awaited<ReturnType<World['upload']>>) => Promise<Response>, isSigned = false): Spoil =>
  async (good, world) => {
    const upload = await world.upload({ isSigned, length: 5 })
    await end(upload)
    const headers = { ...good.headers, ...(isSigned && { 'x-signature': upload.signature }) }
    return { ...good, params: { id: upload.id }, headers }
  }

const toSmall: Spoil = async (good) => ({
  ...good,
  params: { ...good.params, bucket: 'small' },
  body: 'x'.repeat(20),
})

const existing: Spoil = async (good, world) => ({
  ...good,
  params: { bucket: 'box', key: await world.object() },
})

/** A link of the same kind for another object, or of long ago. */
const relinked =
  (change: (world: World, key: string) => string): Spoil =>
  (good, world) => ({ ...good, query: { token: change(world, good.params?.key ?? '') } })

/** A link that was made with these options. */
const limited =
  (options: Record<string, unknown>, { isUsed = false } = {}): Spoil =>
  async (good, world) => {
    const path = `/object/sign/${good.params?.bucket}/${good.params?.key}`
    const signed = await world.server.request('POST', path, { body: { expiresIn: 60, ...options } })
    const { signedURL } = (await signed.json()) as { signedURL: string }
    if (isUsed) await world.server.request('GET', signedURL, { token: null })
    return { ...good, query: { token: signedURL.replace(/.*token=/, '') } }
  }

/** A link to an object of which all are revoked. */
const revoked: Spoil = async (good, world) => {
  const sent = good.query?.token ?? good.headers?.['x-signature'] ?? good.raw?.token
  const token = sent ?? world.link('download', good.params?.key ?? '')
  const { url } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
    url: string
  }
  const [bucket, ...path] = url.split('/')
  await world.server.request('POST', '/object/sign/revoke', { body: { bucket, path: path.join('/') } })
  return sent === undefined ? { ...good, query: { token } } : good
}

/** With another share, about which the database is told this. */
const reshared =
  (columns: Record<string, unknown>): Spoil =>
  async (good, world) => {
    const { id, token } = await world.share()
    const { admin } = world.server
    await admin`update storage.shares set ${admin(columns)} where share_id = ${id}`
    return { ...good, params: { id }, query: { token } }
  }

/** JSON of so many bytes. */
function tooLarge(bytes: number): Spoil {
  return (good) => ({ ...good, body: `{"a":"${'x'.repeat(bytes)}"}` })
}

/** What brings an error about, wherever it is named. */
export const BAD: Partial<Record<ErrorCode, Spoil>> = {
  AuthenticationRequired: (good) => ({ ...good, token: null }),
  TokenRequired: (good) => ({ ...good, token: null }),
  InvalidToken: (good) => ({ ...good, token: 'x' }),
  RoleNotAllowed: asUser,
  AccessDenied: asUser,
  KeptByRule: asUser,
  InvalidRequest: (good) =>
    typeof good.body === 'object'
      ? { ...good, body: '{' }
      : { ...good, raw: { key: MALFORMED, id: MALFORMED } },
  BodyTooLarge: tooLarge(70_000),
  NoSuchBucket: withParams({ bucket: 'nowhere', id: 'nowhere' }),
  NoSuchKey: withParams({ key: 'missing' }),
  NoSuchVersion: withQuery({ versionId: noSuch }),
  InvalidKey: withParams({ key: 'a\0b' }),
  InvalidTags: withHeaders({ 'x-tags': '[' }),
  ObjectAclsDisabled: withHeaders({ 'x-strongroom-access-level': 'public' }),
  InvalidRobotsTag: withHeaders({ 'x-robots-tag': 'anything' }),
  InvalidHeaderChar: withHeaders({ 'cache-control': 'x'.repeat(1500) }),
  InvalidMimeType: (good) => ({
    ...good,
    params: { ...good.params, bucket: 'small' },
    headers: { ...good.headers, 'content-type': 'text/css' },
  }),
  InvalidChecksum: withHeaders({ 'x-content-sha256': '0'.repeat(64) }),
  EntityTooLarge: toSmall,
  PreconditionFailed: withHeaders({ 'if-match': '"another"' }),
  InvalidRange: withHeaders({ range: 'bytes=999-' }),
  MissingBytes: async (good, world) => {
    const { admin } = world.server
    const { bucket = '' } = good.params ?? {}
    const name = world.name()
    await admin`insert into storage.objects (bucket_id, name) values (${bucket}, ${name})`
    return {
      ...good,
      params: { ...good.params, bucket, key: name },
      ...(good.query?.token && { query: { token: world.link('download', name, { bucket }) } }),
    }
  },
  CorruptedBytes: async (good, world) => {
    const { bucket = '', key = '' } = good.params ?? {}
    await world.server.admin`
      update storage.objects set quarantine_reason = 'corrupted', quarantined_at = now()
      where bucket_id = ${bucket} and name = ${key}`
    return good
  },
  KeyAlreadyExists: existing,
  NoSuchTrashItem: (good) =>
    good.body ? { ...good, body: { ids: [noSuch] } } : { ...good, params: { id: noSuch } },
  NoSuchWebhook: withParams({ id: noSuch }),
  NoSuchDeadLetter: withParams({ event: '999999999' }),
  NoSuchCredential: withParams({ id: 'SRNOBODY' }),
  NoSuchBackup: withParams({ id: noSuch }),
  NoSuchLifecyclePolicy: withParams({ id: noSuch }),
  NoSuchLifecycleConfiguration: withParams({ id: 'box' }),
  WebhookFromSettings: async (good, world) => {
    const webhooks = (await (await world.server.request('GET', '/webhook')).json()) as {
      id: string
      source: string
    }[]
    return { ...good, params: { id: webhooks.find(({ source }) => source === 'settings')?.id ?? '' } }
  },
  UnsupportedTusVersion: without('tus-resumable'),
  InvalidUploadId: (good) => ({ ...good, params: { id: '!' } }),
  NoSuchUpload: (good) => ({ ...good, params: { id: Buffer.from(`box/a/${noSuch}`).toString('base64url') } }),
  UploadGone: ended(({ tus, url }) => tus.terminate(url)),
  UploadFinished: ended(({ tus, url }) => tus.patch(url, 0, 'hello')),
  OffsetConflict: withHeaders({ 'upload-offset': '3' }),
  ChecksumMismatch: withHeaders({ 'upload-checksum': `sha1 ${Buffer.alloc(20).toString('base64')}` }),
  NotImplemented: withHeaders({ 'upload-concat': 'partial' }),
  InvalidJWT: withQuery({ token: 'garbage' }),
  ExpiredToken: relinked((world, key) => world.link('download', key, { ageSeconds: 100 })),
  InvalidSignature: relinked((world) => world.link('download', 'another')),
  NoSuchShare: withParams({ id: 'nothing' }),
  ShareSecretRequired: (good) => ({ ...good, query: {} }),
  InvalidShareSecret: withQuery({ token: 'wrong' }),
  TooManyShareSecrets: async (good, world) => ({
    ...(await reshared({ wrong_secrets: 10, wrong_since: new Date().toISOString() })(good, world)),
    query: { token: 'wrong' },
  }),
  ShareExhausted: reshared({ max_downloads: 1, download_count: 1 }),
  ShareForbids: reshared({ permissions: '{"view": false, "download": false, "delete": false}' }),
  LinkRevoked: revoked,
  LinkExhausted: limited({ once: true }, { isUsed: true }),
}

const noToken: Spoil = (good) => ({ ...good, query: {} })
const badQuery = (query: Record<string, string>): Record<string, Spoil> => ({
  InvalidRequest: withQuery(query),
})
const withToken =
  (make: (world: World) => string | Promise<string>): Spoil =>
  async (good, world) => ({ ...good, raw: { ...good.raw, token: await make(world) } })

const ofFolder: Record<string, Spoil> = {
  InvalidJWT: withToken(() => `x.y.${'z'.repeat(43)}`),
  ExpiredToken: withToken((world) => world.link('folder', '', { ageSeconds: 100 })),
  InvalidSignature: withToken((world) => world.link('folder', 'another/')),
  AccessDenied: withToken((world) => folderToken(world, 'box', { allowed_ip: '192.0.2.1' })),
  InvalidRequest: (good) => ({ ...good, raw: { ...good.raw, key: MALFORMED } }),
  NoSuchBucket: async (good, world) => {
    const bucket = await world.bucket()
    const token = await folderToken(world, bucket)
    await world.server.request('DELETE', `/bucket/${bucket}`)
    return { ...good, raw: { token }, params: { ...good.params, bucket } }
  },
}
const toMove = (body: Record<string, unknown>): Spoil => withBody(body)

const moving: Record<string, Spoil> = {
  NoSuchKey: toMove({ sourceKey: 'missing' }),
  NoSuchBucket: toMove({ destinationBucket: 'nowhere' }),
  InvalidKey: toMove({ destinationKey: 'a\0b' }),
}

const ofSignature = (): Record<string, Spoil> => {
  const resign =
    (make: (world: World) => string): Spoil =>
    (good, world) => ({ ...good, headers: { ...good.headers, 'x-signature': make(world) } })
  return {
    InvalidJWT: resign(() => 'garbage'),
    InvalidSignature: resign((world) => world.link('upload', 'another')),
    NoSuchUpload: (good, world) => ({
      ...good,
      params: { id: Buffer.from(`box/a/${noSuch}`).toString('base64url') },
      headers: { ...good.headers, 'x-signature': world.link('upload', 'a') },
    }),
    UploadGone: ended(({ tus, url }) => tus.terminate(url), true),
    UploadFinished: ended(({ tus, url }) => tus.patch(url, 0, 'hello'), true),
    ExpiredToken: (good, world) => {
      const name = nameOf(good)
      return {
        ...good,
        headers: { ...good.headers, 'x-signature': world.link('upload', name, { ageSeconds: 100 }) },
      }
    },
    AccessDenied: (good, world) => {
      const signature = world.link('upload', nameOf(good), { owner: 'another' })
      return { ...good, headers: { ...good.headers, 'x-signature': signature } }
    },
    InvalidRequest: without('x-signature'),
  }
}

/** Of which object an upload is. */
function nameOf({ params, headers }: Sent): string {
  if (params?.id !== undefined) return Buffer.from(params.id, 'base64url').toString().split('/')[1] ?? ''
  const [, base64 = ''] = /objectName ([^,]+)/.exec(headers?.['upload-metadata'] ?? '') ?? []
  return Buffer.from(base64, 'base64').toString()
}

const ofCreation = (isSigned: boolean): Record<string, Spoil> => {
  const named =
    (
      make: (world: World) => Promise<[bucket: string, name: string]>,
      more: Record<string, string> = {},
    ): Spoil =>
    async (good, world) => {
      const [bucket, name] = await make(world)
      const { type, ...headers } = more
      return {
        ...good,
        headers: {
          ...good.headers,
          'upload-metadata': uploadMetadata(name, bucket, type === undefined ? {} : { contentType: type }),
          ...(isSigned && { 'x-signature': world.link('upload', name, { bucket }) }),
          ...headers,
        },
      }
    }
  return {
    NoSuchBucket: named(async (world) => ['nowhere', world.name()]),
    InvalidKey: named(async () => ['box', 'a\0b']),
    InvalidMimeType: named(async (world) => ['small', world.name()], {
      type: 'text/css',
      'upload-length': '5',
    }),
    InvalidChecksum: async (good, world) => {
      const spoilt = await named(async () => ['box', world.name()])(good, world)
      const metadata = `${spoilt.headers?.['upload-metadata']},content_hash ${Buffer.from('none').toString('base64')}`
      return { ...spoilt, headers: { ...spoilt.headers, 'upload-metadata': metadata } }
    },
    EntityTooLarge: named(async (world) => ['small', world.name()], { type: 'text/plain' }),
    KeyAlreadyExists: named(async (world) => ['box', await world.object()]),
    ...(!isSigned && { InvalidRequest: without('upload-length') }),
  }
}

/** By one who has used as many keys as one may. */
const hoarding: Spoil = async (good, world) => {
  const token = await world.user('hoarder of keys')
  await world.server.admin`
    insert into strongroom.idempotency_keys (id, owner, note, holder, held_until)
    select sha256(n::text::bytea), sha256('authenticated subject hoarder of keys'), '', gen_random_uuid(), now()
    from generate_series(1, 10000) n on conflict do nothing`
  return { ...good, token, headers: { ...good.headers, 'idempotency-key': world.name() } }
}

const ofShare: Record<string, Spoil> = {
  NoSuchKey: reshared({ object_id: noSuch }),
}
const ofManaging: Record<string, Spoil> = {
  AuthenticationRequired: (good) => ({ ...good, query: { manage: 'true' }, token: null }),
  InvalidToken: (good) => ({ ...good, query: { manage: 'true' }, token: 'x' }),
}

const foreign: Record<string, Spoil> = {
  AccessDenied: async (good, world) => ({ ...good, token: await world.user('another') }),
  InvalidRequest: without('upload-offset'),
}

const endTwice: Spoil = ended(({ tus, url }) => tus.patch(url, 0, 'hello'))

const appending: Record<string, Spoil> = {
  EntityTooLarge: (good) => ({ ...good, body: 'x'.repeat(30) }),
}

const upload = (world: World, key: string, body: string) =>
  world.server.request('POST', '/storage/v1/object/box', {
    body,
    headers: { ...OCTETS, 'x-file-name': 'a.txt', 'idempotency-key': key },
  })

/** What brings an error about where the way of `BAD` is not the one. */
export const OWN: Record<string, Record<string, Spoil>> = {
  createBucket: {
    InvalidBucketName: withBody({ name: 'a/b' }),
    InvalidMimeType: withBody({ allowed_mime_types: ['nonsense'] }),
    EntityTooLarge: withBody({ file_size_limit: '100000GB' }),
    BucketAlreadyExists: withBody({ name: 'box' }),
  },
  listBuckets: { ...badQuery({ limit: 'x' }), InvalidParameter: withQuery({ offset: '100001' }) },
  ...Object.fromEntries(
    ['updateBucket', 'updateBucketByPatch'].map((id) => [
      id,
      {
        InvalidParameter: withBody({ versioning_status: 'SUSPENDED' }),
        ObjectLocked: async (good: Sent, world: World) => ({
          ...good,
          params: { id: (await world.lockable()).bucket },
          body: { object_lock: false },
        }),
        InvalidMimeType: withBody({ allowed_mime_types: ['nonsense'] }),
        EntityTooLarge: withBody({ file_size_limit: '100000GB' }),
      },
    ]),
  ),
  deleteBucket: {
    ResourceNotEmpty: async (good, world) => {
      const id = await world.bucket()
      await world.object(id)
      return { ...good, params: { id } }
    },
  },
  moveObject: {
    ...moving,
    NoSuchVersion: withBody({ sourceVersionId: noSuch }),
    ObjectLocked: async (good, world) => {
      const { bucket, name, version } = await world.locked()
      return withBody({ bucketId: bucket, sourceKey: name, sourceVersionId: version })(good, world)
    },
    ResourceAlreadyExists: async (good, world) =>
      withBody({ destinationKey: await world.object() })(good, world),
  },
  copyObject: {
    ...moving,
    NoSuchVersion: withBody({ sourceVersionId: noSuch }),
    InvalidMimeType: withBody({ copyMetadata: false, metadata: { mimetype: 'nonsense' } }),
    InvalidHeaderChar: withBody({ copyMetadata: false, metadata: { cacheControl: 'é' } }),
    EntityTooLarge: withBody({ destinationBucket: 'small' }),
    KeyAlreadyExists: async (good, world) => withBody({ destinationKey: await world.object() })(good, world),
  },
  listObjects: {
    InvalidParameter: withBody({ noncurrentVersions: 'include', sortBy: { order: 'desc' } }),
  },
  ...Object.fromEntries(
    ['changeObject', 'changeFile'].map((id) => [
      id,
      {
        InvalidTags: withBody({ tags: [''] }),
        ObjectAclsDisabled: withBody({ access_level: 'public' }),
        InvalidHeaderChar: withBody({ cache_control: 'é' }),
        InvalidMimeType: withBody({ content_type: 'nonsense' }),
        BodyTooLarge: withBody({ metadata: { a: 'x'.repeat(1_200_000) } }),
        ...(id === 'changeFile' && { NoSuchKey: withParams({ id: noSuch }) }),
      },
    ]),
  ),
  putMetadata: { BodyTooLarge: withBody({ a: 'x'.repeat(1_200_000) }) },
  getFile: { NoSuchKey: withParams({ id: noSuch }) },
  deleteFile: {
    NoSuchKey: withParams({ id: noSuch }),
    InvalidRequest: withQuery({ permanent: 'perhaps' }),
    ObjectLocked: async (good, world) => {
      const { bucket, name } = await world.locked()
      const [row] = await world.server.admin<{ id: string }[]>`
        select id from storage.objects where bucket_id = ${bucket} and name = ${name}`
      return { ...good, params: { id: row?.id ?? '' }, query: { permanent: 'true' } }
    },
  },
  uploadNamedObject: {
    InvalidRequest: without('x-file-name'),
    KeyAlreadyExists: async (good, world) => {
      const bucket = world.name()
      await world.server.createBucket(bucket, { path_template: '{file_name}' })
      await world.server.request('PUT', `/storage/v1/object/${bucket}/a.txt`, { body: 'a' })
      return { ...good, params: { bucket } }
    },
    IdempotencyKeyReused: async (good, world) => {
      const key = world.name()
      await upload(world, key, 'another')
      return { ...good, headers: { ...good.headers, 'idempotency-key': key } }
    },
    TooManyIdempotencyKeys: hoarding,
    IdempotencyKeyInUse: async (good, world) => {
      const key = world.name()
      await upload(world, key, 'hello')
      await world.server.admin`
        update strongroom.idempotency_keys set answer = null, held_until = now() + interval '1 hour'`
      return { ...good, headers: { ...good.headers, 'idempotency-key': key } }
    },
  },
  deleteObject: { InvalidParameter: withQuery({ permanent: 'false', versionId: noSuch }) },
  listTrash: { ...badQuery({ limit: 'x' }), InvalidParameter: withQuery({ cursor: 'nonsense' }) },
  restoreTrash: {
    InvalidKey: withBody({ to: 'a\0b' }),
    KeyAlreadyExists: async (good, world) => withBody({ to: await world.object('bin') })(good, world),
  },
  listVersionsOfObject: {
    InvalidRequest: withQuery({ limit: '0' }),
    InvalidParameter: withQuery({ cursor: 'nonsense' }),
  },
  lockObject: {
    KeptByRule: async (good, world) => ({ ...good, token: await world.user() }),
    InvalidParameter: withBody({ retain_until: '2000-01-01T00:00:00Z' }),
    ObjectLocked: async (good, world) => {
      await world.server.request('PUT', `/lock/${good.params?.bucket}/${good.params?.key}`, {
        body: { legal_hold: true },
      })
      return { ...good, body: { legal_hold: false } }
    },
  },
  emptyBucket: {
    InvalidRequest: withHeaders({ 'if-match': '*' }),
    ObjectLocked: async (good, world) => {
      const { bucket, key } = await world.lockable()
      await world.server.request('PUT', `/lock/${bucket}/${key}`, { body: { legal_hold: true } })
      return { ...good, params: { id: bucket } }
    },
  },
  addVersion: {
    NoSuchKey: () => ({ params: { bucket: 'kept', key: 'nothing' }, query: { snapshot: 'true' } }),
    InvalidParameter: withHeaders({ 'x-version-comment': 'x'.repeat(1001) }),
  },
  restoreVersion: {
    NoSuchBucket: withBody({ bucket: 'nowhere' }),
    NoSuchVersion: withBody({ version_id: noSuch }),
    InvalidParameter: () => ({
      body: { bucket: 'box', prefix: '', at: '2026-11-20T10:00Z', cursor: 'nonsense' },
    }),
  },
  listObjectsByCursor: { InvalidParameter: withBody({ cursor: 'nonsense' }) },
  listObjectsOfAllBuckets: { InvalidParameter: withBody({ cursor: 'nonsense' }) },
  signUpload: { InvalidMimeType: withHeaders({ 'content-type': 'nonsense' }) },
  signObject: {
    InvalidParameter: withBody({ expiresIn: 999_999_999_999 }),
    NoSuchVersion: withBody({ versionId: noSuch }),
  },
  signObjects: {
    InvalidParameter: withBody({ expiresIn: 999_999_999_999 }),
    BodyTooLarge: tooLarge(2_200_000),
  },
  downloadOfSignedFolder: ofFolder,
  headOfSignedFolder: ofFolder,
  revokeSigned: {
    InvalidParameter: withBody({ subject: 'somebody' }),
    InvalidJWT: () => ({ body: { token: 'garbage' } }),
    ExpiredToken: (_, world) => ({ body: { token: world.link('download', 'a', { ageSeconds: 100 }) } }),
    NoSuchBucket: withBody({ bucket: 'nowhere' }),
    NoSuchKey: async (good, world) => asUser(await withBody({ path: 'missing' })(good, world), world),
    RoleNotAllowed: (_, world) => asUser({ body: { before: '2026-11-20T10:00Z' } }, world),
    TooManyRevocations: async (_, world) => {
      const subject = world.name()
      await world.server.admin`
        insert into storage.link_revocations (key, moment, expires_at, revoked_by)
        select ${subject} || n, now(), now(), ${subject} from generate_series(1, 10000) n`
      return { body: { subject }, token: await world.user(subject) }
    },
    BodyTooLarge: tooLarge(2_200_000),
  },
  createShare: {
    TooManyIdempotencyKeys: hoarding,
    NoSuchBucket: withBody({ bucket: 'nowhere' }),
    NoSuchKey: withBody({ path: 'missing' }),
    TooManyShares: async (good, world) => {
      const { admin } = world.server
      const [subject, key] = [world.name(), await world.object()]
      await admin`update storage.objects set owner_id = ${subject} where name = ${key}`
      await admin`
        insert into storage.shares (share_id, object_id, shared_by, sharer_role, sharer_claims, permissions, expires_at)
        select ${subject} || n, ${noSuch}, ${subject}, 'authenticated', '{}', '{}', now() + interval '1 hour'
        from generate_series(1, 10000) n`
      return { ...good, body: { bucket: 'box', path: key }, token: await world.user(subject) }
    },
    IdempotencyKeyReused: async (good, world) => {
      const headers = { 'idempotency-key': world.name() }
      await world.server.request('POST', '/storage/v1/share', { headers, body: good.body ?? {} })
      return withBody({ expires_hours: 2 })({ ...good, headers }, world)
    },
    IdempotencyKeyInUse: async (good, world) => {
      const headers = { 'idempotency-key': world.name() }
      await world.server.request('POST', '/storage/v1/share', { headers, body: good.body ?? {} })
      await world.server.admin`
        update strongroom.idempotency_keys set answer = null, held_until = now() + interval '1 hour'`
      return { ...good, headers }
    },
  },
  listShares: { InvalidRequest: withQuery({ limit: '0' }), InvalidParameter: withQuery({ cursor: '!' }) },
  revokeSharesOf: { InvalidRequest: withQuery({ shared_by: '' }) },
  getShare: { ...ofShare, ...ofManaging },
  accessShare: ofShare,
  downloadShare: ofShare,
  headShareDownload: ofShare,
  deleteSharedFile: {
    ...ofShare,
    KeptByRule: reshared({ sharer_role: 'authenticated', shared_by: 'nobody' }),
  },
  ...Object.fromEntries(
    ['objectInfo', 'authenticatedObjectInfo', 'publicObjectInfo'].map((id) => [
      id,
      { InvalidParameter: withQuery({ download_url: '999999999999' }) },
    ]),
  ),
  downloadObject: { AccessDenied: limited({ allowed_ip: '192.0.2.1' }) },
  headObject: { AccessDenied: limited({ allowed_ip: '192.0.2.1' }) },
  deleteObjects: { BodyTooLarge: tooLarge(2_200_000) },
  downloadSignedObject: {
    AccessDenied: limited({ allowed_ip: '192.0.2.1' }),
    InvalidRequest: noToken,
    NoSuchBucket: relinkedTo('nowhere'),
    NoSuchKey: relinkedTo('box'),
    NoSuchVersion: relinked((world, key) => world.link('download', key, { versionId: noSuch })),
  },
  headSignedObject: {
    AccessDenied: limited({ allowed_ip: '192.0.2.1' }),
    InvalidRequest: noToken,
    NoSuchBucket: relinkedTo('nowhere'),
    NoSuchKey: relinkedTo('box'),
    NoSuchVersion: relinked((world, key) => world.link('download', key, { versionId: noSuch })),
  },
  uploadSigned: {
    InvalidRequest: noToken,
    ExpiredToken: relinked((world, key) => world.link('upload', key, { ageSeconds: 100 })),
    NoSuchBucket: uploadTo('nowhere'),
    InvalidMimeType: async (good, world) =>
      withHeaders({ 'content-type': 'text/css' })(await uploadTo('small')(good, world), world),
    EntityTooLarge: async (good, world) => ({
      ...(await uploadTo('small')(good, world)),
      body: 'x'.repeat(20),
    }),
    KeyAlreadyExists: async (good, world) => {
      const key = await world.object()
      return { ...good, params: { bucket: 'box', key }, query: { token: world.link('upload', key) } }
    },
  },
  readEvents: {
    InvalidRequest: withQuery({ type: 'nonsense' }),
    NoSuchBucket: withQuery({ bucket: 'nowhere' }),
  },
  listDeadLetters: badQuery({ limit: '0' }),
  listAccessKeys: badQuery({ limit: '0' }),
  listBackups: badQuery({ limit: '0' }),
  listLifecyclePolicies: badQuery({ limit: '0' }),
  createLifecyclePolicy: {
    RoleNotAllowed: async (good, world) => asUser(await withBody({ bucket: null })(good, world), world),
    NoSuchBucket: withBody({ bucket: 'nowhere' }),
    ResourceAlreadyExists: async (good, world) =>
      withBody({ bucket: await world.bucketWithPolicy() })(good, world),
    BodyTooLarge: tooLarge(2_200_000),
  },
  updateLifecyclePolicy: {
    NoSuchBucket: withBody({ bucket: 'nowhere' }),
    BodyTooLarge: tooLarge(2_200_000),
  },
  runLifecyclePolicy: badQuery({ dry_run: 'perhaps' }),
  putBucketLifecycle: { BodyTooLarge: tooLarge(2_200_000) },
  listAudit: badQuery({ limit: '0' }),
  listObjectAudit: {
    ...badQuery({ limit: '0' }),
    NoSuchKey: (good) => ({ ...good, params: { bucket: 'box', key: 'nothing' } }),
  },
  replayDeadLetters: { InvalidRequest: (good) => ({ ...good, body: '{' }) },
  createBackup: {
    NoSuchBucket: withBody({ buckets: ['nowhere'] }),
    BackupRunning: async (good, world) => {
      await world.backup({ status: 'running' })
      return good
    },
  },
  deleteBackup: {
    BackupRunning: async (good, world) => ({
      ...good,
      params: { id: await world.backup({ status: 'running' }) },
    }),
    BackupInUse: async (good, world) => {
      const id = await world.backup()
      const { admin } = world.server
      const child = {
        id: noSuch,
        kind: 'backup',
        type: 'incremental',
        status: 'completed',
        target: '/t',
        parent: id,
      }
      await admin`insert into storage.backup_jobs ${admin(child)}`
      return { ...good, params: { id } }
    },
  },
  restoreBackup: {
    NoSuchBucket: withBody({ buckets: ['box'], into_bucket: 'nowhere' }),
    BackupRunning: async (good, world) => {
      const id = await world.backup()
      const { admin } = world.server
      await admin`insert into storage.backup_jobs ${admin({ id: noSuch, kind: 'backup', type: 'full', status: 'running', target: '/t' })}`
      return { ...good, params: { id } }
    },
    BackupIncomplete: async (good, world) => ({
      ...good,
      params: { id: await world.backup({ status: 'failed' }) },
    }),
  },
  createUpload: {
    ...ofCreation(false),
  },
  createUploadSigned: { ...ofSignature(), ...ofCreation(true) },
  findUpload: foreign,
  findUploadSigned: ofSignature(),
  appendToUpload: { ...foreign, ...appending },
  appendToUploadByPut: { ...foreign, ...appending },
  appendToUploadSigned: { ...ofSignature(), ...appending },
  appendToUploadSignedByPut: { ...ofSignature(), ...appending },
  terminateUpload: { ...foreign, InvalidRequest: endTwice },
  terminateUploadSigned: ofSignature(),
  overrideMethod: foreign,
  overrideMethodSigned: ofSignature(),
}

function relinkedTo(bucket: string): Spoil {
  return (good, world) => ({
    ...good,
    params: { bucket, key: 'missing' },
    query: { token: world.link('download', 'missing', { bucket }) },
  })
}

function uploadTo(bucket: string): Spoil {
  return (good, world) => {
    const key = world.name()
    return { ...good, params: { bucket, key }, query: { token: world.link('upload', key, { bucket }) } }
  }
}
