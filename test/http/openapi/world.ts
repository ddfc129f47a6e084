import { randomUUID } from 'node:crypto'
import { writeAudit } from '../../../src/database/queries/audit.ts'
import { uuidV7 } from '../../../src/lib/uuid.ts'
import { signUrlToken, type UrlScope } from '../../../src/storage/links/url-token.ts'
import type { TestServer } from '../../support/server.ts'
import { metadataOf, TusRequests } from '../../support/tus-requests.ts'

/** What there is for operations to be tried on, and what makes more of it. */
export class World {
  #count = 0

  constructor(readonly server: TestServer) {}

  /**
   * Buckets `box`, `open` (public), `kept` and `small`, which keep versions, and `bin`, which has a trash; a user who sees all of them
   * and may change nothing.
   */
  static async of(server: TestServer): Promise<World> {
    await server.createBucket('box')
    await server.createBucket('open', { public: true })
    const versions = { versioning_status: 'ENABLED' }
    await server.createBucket('kept', versions)
    await server.createBucket('bin', { trash_days: 7 })
    await server.createBucket('small', {
      file_size_limit: 10,
      allowed_mime_types: ['text/plain'],
      ...versions,
    })
    await server.admin.unsafe(`
      create policy seen on storage.objects for select to authenticated using (true);
      create policy seen on storage.buckets for select to authenticated using (true)`)
    return new World(server)
  }

  /** A name that nothing has yet. */
  name(): string {
    return `thing-${++this.#count}`
  }

  user(subject = 'somebody'): Promise<string> {
    return this.server.token(subject)
  }

  async bucket(): Promise<string> {
    const name = this.name()
    await this.server.createBucket(name)
    return name
  }

  /** Returns the name of a new object of `size` bytes. */
  async object(bucket = 'box', size = 20): Promise<string> {
    const name = this.name()
    await this.#ask('PUT', `/object/${bucket}/${name}`, 'x'.repeat(size), { 'content-type': 'text/plain' })
    return name
  }

  /** The id of a new object. */
  async fileId(): Promise<string> {
    const { Id } = await this.#ask('POST', `/object/box/${this.name()}`, 'hello')
    return String(Id)
  }

  /** A new object in a new bucket whose versions can be locked. */
  async lockable(): Promise<{ bucket: string; key: string }> {
    const bucket = this.name()
    await this.server.createBucket(bucket, { object_lock: true })
    return { bucket, key: await this.object(bucket) }
  }

  /** Deletes an object in the bucket that has a trash. Returns its id. */
  async trashed(): Promise<string> {
    const name = this.name()
    const { Id } = await this.#ask('POST', `/object/bin/${name}`, 'hello')
    await this.server.request('DELETE', `/storage/v1/object/bin/${name}`)
    return String(Id)
  }

  /** The id of what is there now. */
  async version(name: string, bucket = 'box'): Promise<string> {
    const [row] = await this.server.admin<{ version: string }[]>`
      select version from storage.objects where bucket_id = ${bucket} and name = ${name}`
    return row?.version ?? ''
  }

  /** Makes a bucket whose versions are locked, with an object. */
  async locked(): Promise<{ bucket: string; name: string; version: string }> {
    const bucket = await this.bucket()
    await this.server.admin`
      update storage.buckets set versioning_status = 'ENABLED', object_lock = true, retention_days = 1 where id = ${bucket}`
    const name = await this.object(bucket)
    return { bucket, name, version: await this.version(name, bucket) }
  }

  /** Makes an object, its owner, and an entry of it in the audit log. */
  async audited(): Promise<{ subject: string; key: string }> {
    const [key, subject] = [await this.object(), this.name()]
    const { admin, database } = this.server
    const [row] = await admin<{ id: string }[]>`
      update storage.objects set owner_id = ${subject} where bucket_id = 'box' and name = ${key} returning id`
    const about = {
      action: 'upload',
      resource_type: 'object',
      allowed: true,
      status: 201,
      repeated: 0,
    } as const
    const entry = { ...about, at: new Date().toISOString(), id: randomUUID(), file_id: row?.id }
    await writeAudit(database, [entry], (_, error) => {
      throw error
    })
    return { subject, key }
  }

  /** Of a signed URL. @param ageSeconds how long ago it was made; it works for a minute */
  link(
    scope: UrlScope,
    name: string,
    {
      bucket = 'box',
      ageSeconds = 0,
      ...more
    }: { bucket?: string; ageSeconds?: number; owner?: string; upsert?: boolean; versionId?: string } = {},
  ): string {
    const grant = { scope, bucket, bucketUid: undefined, name, expiresInSeconds: 60, ...more }
    const { token } = signUrlToken(
      grant,
      this.server.keys.signingSecret,
      new Date(Date.now() - ageSeconds * 1000),
    )
    return token
  }

  async webhook(): Promise<string> {
    const made = await this.#ask('POST', '/webhook', { url: 'https://example.com/', bucket: 'nobody' })
    return String(made.id)
  }

  /** A webhook, and the id of an event that could not be delivered to it. */
  async deadLetter(): Promise<{ id: string; event: string }> {
    const { admin } = this.server
    const id = await this.webhook()
    const event = { ...NO_EVENT, position: ++this.#count, createdAt: new Date().toISOString() }
    await admin`
      insert into storage.webhook_deliveries
        (webhook_id, position, places, event, state, attempts, next_attempt_at, last_status)
      values (${id}, ${event.position}, '{a}', ${JSON.stringify(event)}::text::jsonb, 'dead', 3, now(), 500)`
    return { id, event: String(event.position) }
  }

  /** Shares a new object. Returns what may be sent to use it. */
  async share(options: Record<string, unknown> = {}): Promise<{ id: string; token: string; key: string }> {
    const key = await this.object()
    const made = await this.#ask('POST', '/share', {
      bucket: 'box',
      path: key,
      permissions: { view: true, download: true, delete: true },
      ...options,
    })
    return { id: String(made.share_id), token: String(made.access_token), key }
  }

  async accessKey(): Promise<string> {
    const made = await this.#ask('POST', '/credential', { role: 'authenticated' })
    return String(made.access_key_id)
  }

  /** A job that is there already. Returns its id. */
  async backup(columns: Record<string, unknown> = {}): Promise<string> {
    const { admin } = this.server
    await admin`delete from storage.backup_jobs`
    const id = uuidV7(new Date())
    await admin`insert into storage.backup_jobs ${admin({ id, kind: 'backup', type: 'full', status: 'completed', target: '/t', ...columns })}`
    return id
  }

  /** A policy of a bucket of its own. Returns its id. */
  async policy(): Promise<string> {
    const rules = [{ action: 'delete_old_versions', after_days: 30 }]
    const made = await this.#ask('POST', '/lifecycle', { name: 'old', bucket: await this.bucket(), rules })
    return String(made.id)
  }

  /** A bucket that has one. */
  async bucketWithPolicy(): Promise<string> {
    const bucket = await this.bucket()
    await this.#ask('PUT', `/bucket/${bucket}/lifecycle`, BUCKET_LIFECYCLE)
    return bucket
  }

  /** Begins a resumable upload, of a length that is not reached yet. Returns the last part of its URL. */
  async upload({
    length = 20,
    isSigned = false,
    token,
  }: {
    length?: number
    isSigned?: boolean
    token?: string
  } = {}) {
    const name = this.name()
    const signature = this.link('upload', name)
    const tus = new TusRequests(
      this.server,
      isSigned
        ? { token: null, headers: { 'x-signature': signature } }
        : { ...(token !== undefined && { token }) },
      `/storage/v1/upload/resumable${isSigned ? '/sign' : ''}`,
    )
    const url = await tus.begin(name, length)
    return { id: url.split('/').at(-1) ?? '', name, signature, url, tus }
  }

  async #ask(
    method: string,
    path: string,
    body: string | object,
    headers: Record<string, string> = {},
  ): Promise<Record<string, unknown>> {
    const response = await this.server.request(method, `/storage/v1${path}`, { body, headers })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return JSON.parse(text)
  }
}

export const uploadMetadata = (name: string, bucket = 'box', more: Record<string, string> = {}) =>
  metadataOf({ bucketName: bucket, objectName: name, ...more })

/** As deliveries keep them. */
const NO_EVENT = {
  type: 'storage.object.created',
  bucket: 'nobody',
  path: 'a.txt',
  oldBucket: null,
  oldPath: null,
  size: 1,
  contentType: 'text/plain',
  checksum: null,
  version: null,
  oldVersion: null,
  ownerId: null,
  record: null,
}

export const noSuch = randomUUID()

export const BUCKET_LIFECYCLE = {
  rules: [{ status: 'Enabled', filter: {}, noncurrentVersionExpiration: { noncurrentDays: 30 } }],
}
