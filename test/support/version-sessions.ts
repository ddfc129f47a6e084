import { randomUUID } from 'node:crypto'
import { inject } from 'vitest'
import { callerContext } from '../../src/database/as-caller.ts'
import { type Database, openDatabase } from '../../src/database/connection/client.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'
import { until } from './wait.ts'

export type Session = Awaited<ReturnType<TestDatabase['admin']['reserve']>>

/** As the server says who calls. */
export function contextOf(role: string, subject: string | null): string {
  return callerContext({
    role,
    subject,
    claims: { sub: subject, role },
    token: '',
    operation: 'storage.object.delete',
    method: 'DELETE',
    path: '/',
    headers: {},
    userBuckets: false,
  })
}

export const SERVICE = contextOf('service_role', null)

/** A database of one's own, and so many sessions in it that change versions at the same moment. */
export async function openVersionSessions(count: number): Promise<VersionSessions> {
  const made = await createTestDatabase({ connections: 1 })
  const { host, port, superuser } = inject('postgres')
  const pool = openDatabase({ host, port, database: made.name, username: superuser }, { connections: count })
  const sessions = await Promise.all(Array.from({ length: count }, () => pool.sql.reserve()))
  const pids = new Map<Session, number>()
  for (const session of sessions) {
    const [row] = await session<{ pid: number }[]>`select pg_backend_pid() as pid`
    pids.set(session, Number(row?.pid))
  }
  return new VersionSessions(made, pool, sessions, pids)
}

export class VersionSessions {
  bucket = ''

  constructor(
    private readonly made: TestDatabase,
    private readonly pool: Database,
    readonly sessions: Session[],
    private readonly pids: ReadonlyMap<Session, number>,
  ) {}

  get one(): Session {
    return this.sessions[0] as Session // there is one at least
  }

  /** For who only looks. */
  get admin(): TestDatabase['admin'] {
    return this.made.admin
  }

  async close(): Promise<void> {
    for (const session of this.sessions) session.release()
    await this.pool.close()
    await this.made.drop()
  }

  async makeBucket(status = 'ENABLED', most = 10): Promise<void> {
    this.bucket = `b-${randomUUID()}`
    await this.one`
      insert into storage.buckets (id, name, versioning_status, trash_days, max_versions)
      values (${this.bucket}, ${this.bucket}, ${status}, ${status === 'DISABLED' ? 7 : 0}, ${most})`
  }

  async setStatus(status: string): Promise<void> {
    await this.one`update storage.buckets set versioning_status = ${status} where id = ${this.bucket}`
  }

  insert = (tx: Session, name: string, owner: string | null = null) =>
    tx`
      insert into storage.objects (bucket_id, name, version, owner_id)
      values (${this.bucket}, ${name}, ${randomUUID()}, ${owner})`.execute()

  upsert = (tx: Session, name: string) =>
    tx`
      insert into storage.objects (bucket_id, name, version) values (${this.bucket}, ${name}, ${randomUUID()})
      on conflict (bucket_id, name) do update set version = excluded.version, bytes_bucket = null`.execute()

  /** An upload of a small object. */
  put = (tx: Session, name: string) =>
    tx`
      select p.* from storage.buckets b, storage.put_object_version(b.id, b.uid,
        storage.settings_mark(b.file_size_limit, b.allowed_mime_types), ${name}, ${randomUUID()}, ${randomUUID()}, null, null,
        '{}', null, null, '{}', 'x', null, true, ${SERVICE}) p
      where b.id = ${this.bucket}`.execute()

  overwrite = (tx: Session, name: string) =>
    tx`
      update storage.objects set version = ${randomUUID()}, bytes_bucket = null where bucket_id = ${this.bucket} and name = ${name}`.execute()

  rename = (tx: Session, name: string, to: string) =>
    tx`update storage.objects set name = ${to} where bucket_id = ${this.bucket} and name = ${name}`.execute()

  remove = (tx: Session, name: string) =>
    tx`delete from storage.objects where bucket_id = ${this.bucket} and name = ${name}`.execute()

  /** With all that the name has had. */
  erase = (tx: Session, name: string, context = SERVICE) =>
    tx`
      select * from storage.delete_objects(${this.bucket}, array[${name}], '{}', 'none', 'erase', ${context})`.execute()

  markDeleted = (tx: Session, name: string) =>
    tx`select * from storage.mark_deleted(${this.bucket}, array[${name}], ${SERVICE})`.execute()

  /** @returns what is said of it, if there is such a one */
  deleteVersion = async (tx: Session, name: string, version: string): Promise<string[]> => {
    const rows = await tx<{ outcome: string }[]>`
      select * from storage.delete_versions(${this.bucket}, array[${name}], array[${version}], ${SERVICE})`
    return rows.map(({ outcome }) => outcome).filter((outcome) => outcome !== 'removal')
  }

  moveVersion = (tx: Session, name: string, version: string, to: string) =>
    tx`
      select * from storage.move_version(${this.bucket}, ${name}, ${version}, ${this.bucket}, ${to}, null, null, ${SERVICE})`.execute()

  /** Does it in one transaction, which is taken back if it fails. */
  inOne = async (tx: Session, work: () => Promise<unknown>): Promise<void> => {
    await tx`begin`
    try {
      await work()
      await tx`commit`
    } catch (error) {
      await tx`rollback`
      throw error
    }
  }

  /** What the name has had, and has: numbers, the oldest first. */
  numbers = async (name: string): Promise<number[]> => (await this.#entries(name)).map(({ number }) => number)

  /** The ids of them, of markers too. */
  versions = async (name: string): Promise<string[]> =>
    (await this.#entries(name)).map(({ version }) => version)

  #entries = (name: string) =>
    this.admin<{ number: number; version: string }[]>`
      select version_number as number, version, sequence from storage.object_versions
      where bucket_id = ${this.bucket} and name = ${name}
      union all
      select version_number, version, 9223372036854775807 from storage.objects
      where bucket_id = ${this.bucket} and name = ${name}
      order by sequence`

  /** Of what follows another in the history of its name: where the number is none behind it, or the times of both overlap. */
  disorder = async (): Promise<unknown[]> => {
    const rows = await this.admin`
      select * from (
        select name, version_number as number, valid_from::text as since,
          lag(version_number) over w as number_before, (lag(archived_at) over w)::text as until,
          version_number <= lag(version_number) over w or valid_from < lag(archived_at) over w as is_wrong
        from (
          select bucket_id, name, version_number, valid_from, archived_at, sequence from storage.object_versions
          where kind <> 'trash'
          union all
          select bucket_id, name, version_number, current_since, 'infinity', 9223372036854775807 from storage.objects
        ) everything
        where bucket_id = ${this.bucket}
        window w as (partition by name order by sequence)
      ) followers
      where is_wrong`
    return [...rows]
  }

  /** Versions whose bytes are to be in the database and are not, and such bytes that nothing names. */
  lostBytes = async (): Promise<unknown[]> => {
    const rows = await this.admin`
      with named as (
        select version from storage.objects where bytes_bucket = storage.inline_bucket()
        union select version from storage.object_versions where bytes_bucket = storage.inline_bucket()
      )
      select n.version as lost, i.version as leaked
      from named n full join storage.inline_bytes i on i.version::text = n.version
      where n.version is null or i.version is null`
    return [...rows]
  }

  /** Until that session waits for somebody, or for this one. */
  waits = async (session: Session, other?: Session): Promise<void> => {
    const pid = other && Number(this.pids.get(other))
    await until(async () => {
      const [row] = await this.admin<{ pids: number[] }[]>`
        select pg_blocking_pids(${Number(this.pids.get(session))}) as pids`
      const pids = row?.pids ?? []
      return pid === undefined ? pids.length > 0 : pids.includes(pid)
    }, 'the session waits')
  }
}
