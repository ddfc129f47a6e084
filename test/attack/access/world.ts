import { randomUUID } from 'node:crypto'
import { expect } from 'vitest'
import { BUCKET_POLICIES, type BucketPolicy } from '../../../src/database/schema.ts'
import { mintToken } from '../../../src/server/keys.ts'
import type { RequestOptions, TestServer } from '../../support/server.ts'

/** In the order of the table's columns. */
export const CALLERS = ['none', 'forged', 'anon', 'stranger', 'author', 'owner', 'service'] as const

export type Caller = (typeof CALLERS)[number]

/** The object of each cell, and what only those may see who may read it. */
export const NAME = 'album/photo.txt'
export const SECRET = 'the bytes of the photo'

/** Who asks, and what about: each cell of the table has a bucket of its own. */
export class World {
  private constructor(
    readonly server: TestServer,
    readonly tokens: Record<Caller, string | null>,
    readonly subjects: Record<'stranger' | 'author' | 'owner', string>,
    /** Where everybody who has signed in may write, and anybody may read. */
    readonly commons: { writable: string; visible: string },
  ) {}

  static async make(server: TestServer): Promise<World> {
    const [stranger, author, owner] = [randomUUID(), randomUUID(), randomUUID()]
    const commons = { writable: `writable-${randomUUID()}`, visible: `visible-${randomUUID()}` }
    await server.createBucket(commons.writable, { policy: 'authenticated' })
    await server.createBucket(commons.visible, { policy: 'public' })
    const tokens = {
      none: null,
      // More than anybody may, signed by nobody whom the server knows.
      forged: await mintToken(
        'a secret of the attacker, long enough',
        { role: 'service_role', subject: owner },
        3600,
      ),
      anon: server.keys.anonKey,
      stranger: await server.token(stranger),
      author: await server.token(author),
      owner: await server.token(owner),
      service: server.keys.serviceKey,
    }
    for (const policy of BUCKET_POLICIES) await server.createBucket(modelOf(policy), { policy })
    await server.admin`
      update storage.buckets set owner_id = ${owner} where id = any(${BUCKET_POLICIES.map(modelOf)})`
    return new World(server, tokens, { stranger, author, owner }, commons)
  }

  /** For each caller a fresh bucket of the owner's, with an object of the author's. */
  async cells(policy: BucketPolicy): Promise<Cell[]> {
    const { server, subjects } = this
    const cells = CALLERS.map((caller) => new Cell(this, `cell-${randomUUID()}`, caller))
    const buckets = cells.map(({ bucket }) => bucket)
    await server.admin`
      insert into storage.buckets
      select (jsonb_populate_record(b, jsonb_build_object('id', cell, 'name', cell, 'uid', gen_random_uuid()))).*
      from storage.buckets b, unnest(${buckets}::text[]) cell where b.id = ${modelOf(policy)}`
    const photo = { body: SECRET, headers: { 'content-type': 'text/plain' } }
    await Promise.all(cells.map((cell) => cell.done('POST', `/object/${cell.object}`, photo)))
    await server.admin`update storage.objects set owner_id = ${subjects.author} where bucket_id = any(${buckets})`
    return cells
  }
}

/** The bucket of which those of the cells are copies. */
function modelOf(policy: BucketPolicy): string {
  return `model-${policy}`
}

/** A caller before a bucket with one object. */
export class Cell {
  /** The object's address behind a route. */
  readonly object: string

  constructor(
    readonly world: World,
    readonly bucket: string,
    readonly caller: Caller,
  ) {
    this.object = `${bucket}/${NAME}`
  }

  get token(): string | null {
    return this.world.tokens[this.caller]
  }

  /** A request of the caller's, which changes and shows nothing unless it succeeds. */
  ask(method: string, path: string, init: Omit<RequestOptions, 'token'> = {}): Promise<Response> {
    const { token, world } = this
    return this.watch(() => world.server.request(method, `/storage/v1${path}`, { ...init, token }))
  }

  /** The same of a request by another protocol. */
  async watch(request: () => Promise<Response>): Promise<Response> {
    const before = await this.facts()
    const response = await request()
    if (!response.ok) {
      expect(await response.clone().text()).not.toContain(SECRET)
      expect(await this.facts()).toBe(before)
    }
    return response
  }

  /** A request of the service's, which must succeed, as a part of what the caller finds. */
  async done(method: string, path: string, init: RequestOptions = {}): Promise<Response> {
    const response = await this.world.server.request(method, `/storage/v1${path}`, init)
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    return response
  }

  /** As an operator would, whatever the routes take. */
  async setBucket(settings: Record<string, unknown>): Promise<void> {
    const { admin } = this.world.server
    await admin`update storage.buckets set ${admin(settings)} where id = ${this.bucket}`
  }

  /** Makes the object that is there now the author's. */
  async giveToAuthor(): Promise<void> {
    const { server, subjects } = this.world
    await server.admin`update storage.objects set owner_id = ${subjects.author} where bucket_id = ${this.bucket}`
  }

  /** The object's id. */
  async id(): Promise<string> {
    const [row] = await this.world.server
      .admin`select id from storage.objects where bucket_id = ${this.bucket}`
    return String(row?.id)
  }

  /** That of the version that is there now. */
  async version(): Promise<string> {
    const [row] = await this.world.server.admin`
      select version from storage.objects where bucket_id = ${this.bucket} and name = ${NAME}`
    return String(row?.version)
  }

  /** A moment of whole milliseconds, behind all that was done and before all that will be. */
  async moment(): Promise<string> {
    const [row] = await this.world.server.admin`
      select to_char(date_trunc('milliseconds', clock_timestamp()) + interval '1 ms', 'YYYY-MM-DD"T"HH24:MI:SS.MS') || 'Z' as at,
        pg_sleep(0.003)`
    return String(row?.at)
  }

  /** All that the database has of the bucket, to see whether anything was changed. */
  async facts(): Promise<string> {
    const { bucket } = this
    const rows = await this.world.server.admin`
      select (select jsonb_agg(to_jsonb(b)) from storage.buckets b where id = ${bucket}) as bucket,
             (select jsonb_agg(to_jsonb(o) - 'last_accessed_at' order by name) from storage.objects o
              where bucket_id = ${bucket}) as objects,
             (select jsonb_agg(to_jsonb(v) order by sequence) from storage.object_versions v
              where bucket_id = ${bucket}) as former,
             (select jsonb_agg(to_jsonb(l) order by version) from storage.object_locks l where exists (
                select from storage.objects o where o.bucket_id = ${bucket} and o.version = l.version::text)) as locks,
             (select jsonb_agg(to_jsonb(p) || to_jsonb(r) order by p.id, r.position)
              from storage.lifecycle_policies p left join storage.policy_rules r on r.policy_id = p.id
              where p.bucket_id = ${bucket}) as lifecycle`
    return JSON.stringify(rows)
  }
}
