import { createHash, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import postgres from '#postgres'
import { callerContext } from '../../src/database/as-caller.ts'
import { cleanUp } from '../support/cleanup.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

/*
 * Somebody has the service key, and SQL under its role, as PostgREST gives it. He wants files gone, and finds that these are locked
 * (docs/versions.md, "Locks"). Whatever he does, and whatever the cleanup makes of it, their bytes are there.
 */

const INLINE_SIZE = 1000
const ROLE = `key_thief_${randomUUID().slice(0, 8)}`

let server: TestServer
let sql: postgres.Sql
beforeAll(async () => {
  server = await startTestServer({ STORAGE_INLINE_SIZE: String(INLINE_SIZE) })
  await server.admin.unsafe(`create role ${ROLE} login noinherit in role anon, authenticated, service_role`)
  const [row] = await server.admin`select current_database() as database`
  const { host, port } = inject('postgres')
  sql = postgres({ host, port, database: String(row?.database), username: ROLE, max: 1, onnotice: () => {} })
  await sql`set role service_role`
  await server.createBucket(BUCKET, { object_lock: true, retention_days: DAYS })
})
beforeEach(async () => {
  locked = []
  for (const [name, bytes] of VICTIMS) await lockUp(`${name} ${randomUUID()}`, bytes)
  await grow()
})
afterAll(async () => {
  await sql.end({ timeout: 1 })
  await server.close()
  const { host, port, superuser } = inject('postgres')
  const root = postgres({ host, port, database: 'postgres', username: superuser, max: 1 })
  await root.unsafe(`drop role ${ROLE}`)
  await root.end({ timeout: 1 })
})

const BUCKET = `kept-${randomUUID()}`

/** For so many days all are locked, of which half are over. */
const DAYS = 20

/** One in the database and two in files, each with one that was there before; one is from before it was noted since when they are there. */
const VICTIMS: [name: string, bytes: Buffer][] = [
  ['small', Buffer.from('small but mine')],
  ['large', Buffer.alloc(3 * INLINE_SIZE, 'large ')],
  ['old', Buffer.alloc(3 * INLINE_SIZE, 'old ')],
]

interface Locked {
  name: string
  version: string
  sha256: string
  uid: string
}
let locked: Locked[] = []

const ask = (method: string, path: string, init?: Parameters<TestServer['request']>[2]) =>
  server.request(method, `/storage/v1${path}`, init)

async function lockUp(name: string, bytes: Buffer): Promise<void> {
  for (const body of [bytes, Buffer.concat([bytes, bytes.subarray(0, 5)])]) {
    const sent = await ask('PUT', `/object/${BUCKET}/${encodeURIComponent(name)}`, { body: body.toString() })
    expect(sent.ok).toBe(true)
    const [row] = await server.admin`
      select o.version, coalesce(o.bytes_bucket, b.uid) as uid from storage.objects o join storage.buckets b on b.id = o.bucket_id
      where o.bucket_id = ${BUCKET} and o.name = ${name}`
    const sha256 = createHash('sha256').update(body).digest('hex')
    locked.push({ name, version: String(row?.version), sha256, uid: String(row?.uid) })
  }
}

/** As if they had been there for days, and one of them since before that was noted. */
async function grow(): Promise<void> {
  await server.admin.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    const since = tx`now() - ${DAYS / 2} * interval '24 hours'`
    await tx`update storage.objects set current_since = ${since} where bucket_id = ${BUCKET}`
    await tx`update storage.object_versions set valid_from = ${since} where bucket_id = ${BUCKET}`
    await tx`
      update storage.objects set current_since = null, updated_at = ${since}
      where bucket_id = ${BUCKET} and name like 'old %'`
  })
}

/** After the next round of the server's own housekeeping, too. */
async function expectAllThere(): Promise<void> {
  await cleanUp(server)
  for (const { name, version, sha256 } of locked) {
    const answer = await ask('GET', `/object/${BUCKET}/${encodeURIComponent(name)}?versionId=${version}`)
    expect(answer.status, name).toBe(200)
    expect(
      createHash('sha256')
        .update(Buffer.from(await answer.arrayBuffer()))
        .digest('hex'),
    ).toBe(sha256)
  }
}

/** As a server tells PostgreSQL who asks. */
const AS_SERVICE = callerContext({
  role: 'service_role',
  subject: null,
  claims: { role: 'service_role' },
  token: '',
  operation: 'storage.object.delete',
  method: '',
  path: '',
  headers: {},
  userBuckets: false,
})

const each = (make: (one: Locked) => string) => locked.map(make)
const IDS = `(select version from storage.objects where bucket_id = '${BUCKET}'
  union select version from storage.object_versions where bucket_id = '${BUCKET}' and kind = 'version')`

/** Where clocks were put forward by 334 hours a few days ago: so much less is twenty days there. */
function shortDays(): string {
  const now = new Date()
  const today = Math.ceil((now.getTime() - Date.UTC(now.getUTCFullYear(), 0, 1)) / 86_400_000)
  const [forward, back] = [today - 12, today + 170].map((day) => ((day + 364) % 365) + 1)
  return `AAA167BBB-167,J${forward}/0,J${back}/0`
}

/** What is tried, a statement at a time; many are refused, and what is not has no effect on the bytes. */
const BY_SQL: [what: string, statements: () => string[]][] = [
  ['deletes the rows', () => ['delete from storage.objects', 'delete from storage.object_versions']],
  [
    'deletes them for good',
    () => [
      "begin; set local storage.deletion = 'purge'; delete from storage.objects; commit",
      "begin; set local storage.deletion = 'erase'; delete from storage.objects; commit",
      "begin; set local storage.deletion = 'trash 0'; delete from storage.objects; commit",
      "begin; set local storage.deletion = 'replace'; delete from storage.objects; commit",
      "begin; set local storage.promoting = 'true'; delete from storage.object_versions; commit",
      "begin; set local storage.restoring = 'true'; delete from storage.object_versions; commit",
    ],
  ],
  [
    'has functions delete them',
    () => {
      const ids = `array(select sequence from storage.object_versions where bucket_id = '${BUCKET}')`
      return [
        `select storage.expire_versions(${ids}, array(select 0 from unnest(${ids})), array(select false from unnest(${ids})))`,
        ...each(
          ({ name, version }) =>
            `select storage.delete_versions('${BUCKET}', array['${name}'], array['${version}'], '${AS_SERVICE}')`,
        ),
        ...each(({ name }) => `select storage.erase_history('${BUCKET}', array['${name}'], '${AS_SERVICE}')`),
        ...each(
          ({ name }) =>
            `select storage.delete_objects('${BUCKET}', array['${name}'], '{}', 'none', 'erase', '${AS_SERVICE}')`,
        ),
        `select storage.empty_trash('${BUCKET}', 0, 1000, '${AS_SERVICE}')`,
      ]
    },
  ],
  [
    'deletes them as the database was before they were locked',
    () => [
      "begin isolation level repeatable read; set local storage.deletion = 'purge'; delete from storage.objects; commit",
      'begin isolation level serializable; delete from storage.object_versions; commit',
    ],
  ],
  [
    'goes where days are short',
    () => [
      `set timezone = '${shortDays()}'`,
      'delete from storage.object_versions',
      "begin; set local storage.deletion = 'purge'; delete from storage.objects; commit",
      'reset timezone',
    ],
  ],
  [
    'truncates',
    () => [
      'truncate storage.objects',
      'truncate storage.object_versions',
      'truncate storage.buckets cascade',
      'truncate storage.inline_bytes',
      'truncate storage.object_locks',
      'truncate storage.version_parts',
    ],
  ],
  [
    'takes the locks off',
    () => [
      'delete from storage.object_locks',
      "update storage.object_locks set retain_until = '2000-01-01', legal_hold = false, lifted_at = now()",
      ...each(
        ({ name, version }) => `select storage.lift_lock('${BUCKET}', '${name}', '${version}', 'mine')`,
      ),
      ...each(({ version }) => `select storage.write_lock('${version}', now() + interval '1 second', false)`),
      ...each(({ version }) => `select storage.write_lock('${version}', null, false)`),
      'select storage.drop_spent_locks(1000)',
    ],
  ],
  [
    'unlocks the bucket',
    () => [
      `update storage.buckets set object_lock = false where id = '${BUCKET}'`,
      `update storage.buckets set retention_days = null where id = '${BUCKET}'`,
      `update storage.buckets set versioning_status = 'SUSPENDED' where id = '${BUCKET}'`,
      `update storage.buckets set versioning_status = 'DISABLED' where id = '${BUCKET}'`,
      `update storage.buckets set uid = gen_random_uuid() where id = '${BUCKET}'`,
      `update storage.buckets set id = 'other' where id = '${BUCKET}'`,
      `delete from storage.buckets where id = '${BUCKET}'`,
      `insert into storage.buckets (id, name) values ('other', 'other')`,
      `begin; set local storage.deletion = 'purge'; update storage.objects set bucket_id = 'other' where bucket_id = '${BUCKET}';
        delete from storage.objects where bucket_id = 'other'; commit`,
      `update storage.objects set bucket_id = 'other' where bucket_id = '${BUCKET}'`,
      "begin; set local storage.deletion = 'purge'; delete from storage.objects where bucket_id = 'other'; commit",
    ],
  ],
  [
    'moves the times',
    () => [
      "update storage.objects set current_since = '2000-01-01', created_at = '2000-01-01', updated_at = '2000-01-01'",
      "update storage.object_versions set valid_from = '2000-01-01'",
      "update storage.object_versions set purge_at = '2000-01-01'",
      `begin; set local storage.restoring = 'true';
        update storage.objects set updated_at = '2000-01-01', created_at = '2000-01-01'; commit`,
      `begin; set local storage.restoring = 'true'; update storage.objects set updated_at = null, created_at = null; commit`,
      "begin; set local storage.deletion = 'purge'; delete from storage.objects; commit",
    ],
  ],
  [
    'leaves no room for versions',
    () => [
      `update storage.buckets set max_versions = 1, version_retention_days = 1 where id = '${BUCKET}'`,
      `update storage.objects set version = gen_random_uuid(), bytes_bucket = null where bucket_id = '${BUCKET}'`,
      `delete from storage.objects where bucket_id = '${BUCKET}'`,
      ...each(({ name }) => `select storage.remove_null_version('${BUCKET}', '${name}')`),
      ...each(({ name }) => `select storage.trim_versions('${BUCKET}', '${name}', 0, false)`),
    ],
  ],
  [
    'makes them null versions, which give way to each other',
    () => [
      'update storage.object_versions set is_versioned = false',
      `update storage.objects set is_versioned = false where bucket_id = '${BUCKET}'`,
      `update storage.objects set version = gen_random_uuid(), bytes_bucket = null where bucket_id = '${BUCKET}'`,
    ],
  ],
  [
    'says that their bytes are elsewhere',
    () => [
      'update storage.object_versions set bytes_bucket = gen_random_uuid()',
      'update storage.objects set bytes_bucket = gen_random_uuid()',
      "update storage.objects set bytes_bucket = '00000000-0000-0000-0000-000000000000'",
      'update storage.objects set bytes_bucket = null',
      ...each(({ version }) => `select storage.move_bytes_out('${version}', gen_random_uuid())`),
      ...each(({ version, uid }) => `select storage.move_bytes_in('${version}', '${uid}', 'x')`),
      ...each(
        ({ version, uid }) => `select storage.move_versions('${version}', '${uid}', gen_random_uuid())`,
      ),
    ],
  ],
  [
    'says that they are others',
    () => [
      "update storage.objects set checksum = repeat('0', 64)",
      "update storage.object_versions set checksum = repeat('0', 64)",
      `update storage.objects set metadata = metadata || '{"size": 1}'`,
      'update storage.object_versions set size = 1',
      "update storage.object_versions set object_row = '{}'",
      ...each(
        ({ version }) => `select storage.note_checksum(gen_random_uuid(), '${version}', repeat('0', 64))`,
      ),
      `insert into storage.version_parts (version, parts) select version::uuid, '[]' from ${IDS} v`,
    ],
  ],
  [
    'puts another row in their place',
    () => [
      `insert into storage.object_versions (kind, bucket_id, name, object_id, version, bytes_bucket, version_number,
        is_versioned, valid_from, archived_at, object_row)
        select 'version', bucket_id, name, object_id, version, gen_random_uuid(), 1, true, '2000-01-01', '2000-01-01', '{}'
        from storage.object_versions where kind = 'version'`,
      `delete from storage.object_versions where bucket_id = '${BUCKET}' and kind = 'delete_marker'`,
      ...each(
        ({ name, version }) => `begin;
          insert into storage.objects (bucket_id, name, version, bytes_bucket, version_number, current_since)
            values ('${BUCKET}', '${name}', '${version}', gen_random_uuid(), 9, now() + interval '1 day')
            on conflict (bucket_id, name) do nothing;
          delete from storage.object_versions where version = '${version}'; commit`,
      ),
    ],
  ],
  [
    'marks them as lost',
    () => [
      "update storage.objects set quarantine_reason = 'missing', quarantined_at = '2000-01-01'",
      "update storage.object_versions set quarantine_reason = 'missing', quarantined_at = '2000-01-01'",
    ],
  ],
  [
    'takes the bytes out of the database',
    () => [
      'delete from storage.inline_bytes',
      "update storage.inline_bytes set bytes = 'x'",
      ...each(({ version }) => `select storage.remove_inline_bytes('${version}')`),
      ...each(({ version }) => `select storage.write_inline_bytes('${version}', 'x')`),
      ...each(({ version }) => `select storage.copy_inline_bytes('${version}', '${version}')`),
    ],
  ],
  [
    'has them listed for removal',
    () => [
      ...each(
        ({ version, uid }) => `insert into storage.removals (version, bucket_uid, created_at)
          values ('${version}', '${uid}', '2000-01-01') on conflict do nothing`,
      ),
      `insert into storage.former_buckets (uid, deleted_at) select uid, '2000-01-01' from storage.buckets`,
    ],
  ],
  [
    'has them given up as uploads that nobody goes on with',
    () =>
      each(
        ({
          version,
          uid,
          name,
        }) => `insert into storage.uploads (version, bucket_uid, bucket_id, name, heartbeat_at)
          values ('${version}', '${uid}', '${BUCKET}', '${name}', '2000-01-01') on conflict do nothing`,
      ),
  ],
]

describe('with the service key in SQL, who', () => {
  it.each(BY_SQL)('%s', async (_, statements) => {
    const outcomes: string[] = []
    for (const statement of statements()) {
      const error = await sql
        .unsafe(statement)
        .simple()
        .then(
          () => null,
          (thrown: Error & { code?: string }) => thrown,
        )
      outcomes.push(error?.code ?? 'done')
      if (error) await sql.unsafe('rollback').simple()
    }
    // None is refused for a slip in the test itself: of a name, a type or the grammar.
    expect(outcomes.filter((code) => /^42(?!501)|^22/.test(code))).toEqual([])
    await expectAllThere()
  })
})

describe('with the service key by HTTP, who', () => {
  it('asks for all that removes, overwrites and switches off', async () => {
    const requests: [string, string, object?][] = [
      ['POST', `/bucket/${BUCKET}/empty`],
      ['DELETE', `/bucket/${BUCKET}`],
      ['PUT', `/bucket/${BUCKET}`, { object_lock: false }],
      ['PUT', `/bucket/${BUCKET}`, { retention_days: null }],
      ['PUT', `/bucket/${BUCKET}`, { versioning_status: 'SUSPENDED' }],
      [
        'DELETE',
        `/object/${BUCKET}`,
        { prefixes: locked.map(({ name, version }) => ({ path: name, versionId: version })) },
      ],
      ['DELETE', `/object/${BUCKET}`, { prefixes: locked.map(({ name }) => name) }],
      ...locked.flatMap(({ name, version }): [string, string, object?][] => [
        ['DELETE', `/object/${BUCKET}/${encodeURIComponent(name)}?versionId=${version}`],
        ['DELETE', `/object/${BUCKET}/${encodeURIComponent(name)}?versionId=${version}&permanent=true`],
        ['DELETE', `/object/${BUCKET}/${encodeURIComponent(name)}?permanent=true`],
        [
          'PUT',
          `/lock/${BUCKET}/${name}?versionId=${version}`,
          { retain_until: new Date(Date.now() + 1000).toISOString() },
        ],
        ['POST', '/versions/restore', { bucket: BUCKET, path: name, version_id: version }],
        [
          'POST',
          '/object/move',
          { bucketId: BUCKET, sourceKey: name, destinationKey: `${name}-moved`, sourceVersionId: version },
        ],
        ['POST', '/object/move', { bucketId: BUCKET, sourceKey: name, destinationKey: `${name}-moved` }],
        ['DELETE', `/object/${BUCKET}/${encodeURIComponent(name)}-moved`],
      ]),
    ]
    for (const [method, path, body] of requests) {
      const answer = await ask(method, path, body ? { body } : {})
      expect(answer.status, `${method} ${path}`).not.toBe(500)
    }
    await expectAllThere()
  })

  it('goes on with them as with uploads that are not finished', async () => {
    for (const { name, version, uid } of locked) {
      await sql`
        insert into storage.uploads (version, bucket_uid, bucket_id, name) values (${version}, ${uid}, ${BUCKET}, ${name})
        on conflict do nothing`
      await sql`
        insert into storage.resumable_uploads (id, bucket_uid, bucket_id, name, owner_role, is_signed, upload_length, content,
          expires_at)
        values (${version}, ${uid}, ${BUCKET}, ${name}, 'service_role', false, 5, '{}', now() + interval '1 day')
        on conflict (id) do update set ended = null, expires_at = excluded.expires_at`
      const id = Buffer.from(`${BUCKET}/${name}/${version}`).toString('base64url')
      const headers = { 'tus-resumable': '1.0.0' }
      const chunk = { ...headers, 'content-type': 'application/offset+octet-stream', 'upload-offset': '0' }
      await ask('HEAD', `/upload/resumable/${id}`, { headers })
      const patched = await ask('PATCH', `/upload/resumable/${id}`, { headers: chunk, body: 'xxxxx' })
      const ended = await ask('DELETE', `/upload/resumable/${id}`, { headers })
      expect([patched.ok, ended.ok]).toEqual([false, false])
    }
    await expectAllThere()
  })
})
