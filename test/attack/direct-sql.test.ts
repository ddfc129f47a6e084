import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import postgres from '#postgres'
import {
  DEBIAN_POSTGRES,
  type DebianPostgres,
  hasDebianPostgres,
  startDebianPostgres,
} from '../support/debian-postgres.ts'
import { openEvents } from '../support/event-stream.ts'
import { type Served, serveOn, startTestServer } from '../support/server.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { until } from '../support/wait.ts'
import { besideInnocent } from './support/innocent.ts'

/*
 * Somebody may run SQL of his own under a caller's role: he has a login, or found a hole in another service. Row-level
 * security binds him; this is about what it does not.
 */

interface Site {
  server: Served
  /** The superuser. */
  admin: postgres.Sql
  /** A session of a login of this name. */
  login(user: string): postgres.Sql
  close(): Promise<void>
}

const PASSWORD = 'well-known'

/** The run's own PostgreSQL. */
async function onTheBuiltIn(): Promise<Site> {
  const server = await startTestServer()
  const [row] = await server.admin`select current_database() as database`
  const { host, port } = inject('postgres')
  return {
    server,
    admin: server.admin,
    login: (username) => postgres({ host, port, database: String(row?.database), username, max: 1 }),
    close: () => server.close(),
  }
}

/** A PostgreSQL as others have it, where the server is an ordinary login. */
async function onTheOldest(): Promise<Site> {
  const cluster: DebianPostgres = await startDebianPostgres()
  await cluster.admin`create database storage`
  await (await serveOn(cluster.url('storage'))).close() // as the superuser, which migrates it
  await cluster.admin.unsafe(`create role app login password '${PASSWORD}' in role strongroom_server`)
  const admin = postgres(cluster.url('storage'), { max: 2, onnotice: () => {} })
  const server = await serveOn(cluster.url('storage', { user: 'app', password: PASSWORD }))
  return {
    server,
    admin,
    login: (user) => postgres(cluster.url('storage', { user, password: PASSWORD }), { max: 1 }),
    close: async () => {
      await server.close()
      await admin.end({ timeout: 1 })
      await cluster.stop()
    },
  }
}

const SITES = [
  { name: 'the built-in PostgreSQL', open: onTheBuiltIn, isThere: true },
  { name: `PostgreSQL 15 (of ${DEBIAN_POSTGRES})`, open: onTheOldest, isThere: hasDebianPostgres },
]

describe.each(SITES.filter(({ isThere }) => isThere))('somebody with SQL of his own in $name', ({ open }) => {
  const suffix = randomUUID().slice(0, 8)
  const victim = randomUUID()
  const claims = JSON.stringify({ sub: victim, role: 'authenticated' })
  let site: Site
  /** May become anon and authenticated, as a person; service_role; or all three, as PostgREST does. */
  let logins: Record<'person' | 'service' | 'gateway', postgres.Sql>

  beforeAll(async () => {
    site = await open()
    const make = async (name: string, roles: string) => {
      await site.admin.unsafe(`create role ${name}_${suffix} login password '${PASSWORD}' in role ${roles}`)
      return site.login(`${name}_${suffix}`)
    }
    logins = {
      person: await make('person', 'anon, authenticated'),
      service: await make('service', 'service_role'),
      gateway: await make('gateway', 'anon, authenticated, service_role'),
    }
    const { server } = site
    await server.request('POST', '/bucket', { body: { name: 'shared', policy: 'authenticated' } })
    await server.request('POST', '/bucket', { body: { name: 'drawer', policy: 'authenticated' } })
    await server.request('POST', '/bucket', { body: { name: 'private', policy: 'private' } })
    await site.admin`update storage.buckets set owner_id = ${victim} where id = 'private'`
    const token = await server.token(victim)
    expect((await server.request('POST', '/object/private/diary.txt', { token, body: 'dear' })).status).toBe(
      201,
    )
  })
  afterAll(async () => {
    await Promise.all(Object.values(logins).map((sql) => sql.end({ timeout: 1 })))
    for (const name of Object.keys(logins)) await site.admin.unsafe(`drop role ${name}_${suffix}`)
    await site.close()
  })

  /** Runs SQL in a session of the login that has become this role; what it did is taken back. */
  async function as<T>(
    login: keyof typeof logins,
    role: string,
    run: (sql: postgres.TransactionSql) => Promise<T>,
  ): Promise<T> {
    const results: T[] = []
    const undo = new Error('undo')
    await logins[login]
      .begin(async (sql) => {
        await sql.unsafe(`set local role ${role}`)
        results.push(await run(sql))
        throw undo
      })
      .catch((error: unknown) => {
        if (error !== undo) throw error
      })
    return results[0] as T // there is one, or `run` has thrown
  }

  describe('sets our settings', () => {
    const lie = (sql: postgres.TransactionSql) => sql`
      select set_config('request.jwt.claims', ${claims}, true), set_config('request.jwt.claim.sub', ${victim}, true),
        set_config('request.jwt.claim.role', 'service_role', true), set_config('storage.user_buckets', 'true', true),
        set_config('storage.operation', 'storage.object.upload', true),
        set_config('storage.allow_delete_query', 'true', true)`

    it('and is nobody all the same', async () => {
      const seen = await as('person', 'authenticated', async (sql) => {
        await lie(sql)
        const [who] = await sql`select auth.uid(), auth.role(), auth.jwt(), auth.email(), storage.operation()`
        return [who, await sql`select name from storage.objects where bucket_id = 'private'`]
      })
      const nobody = { uid: null, role: null, jwt: null, email: null, operation: null }
      expect(seen).toEqual([nobody, []])
    })

    it('and changes nothing of theirs whose name he has taken', async () => {
      const changed = await as('person', 'authenticated', async (sql) => {
        await lie(sql)
        const overwritten = await sql`update storage.objects set metadata = '{}' where bucket_id = 'private'`
        const deleted = await sql`delete from storage.objects where bucket_id = 'private'`
        return [overwritten.count, deleted.count]
      })
      expect(changed).toEqual([0, 0])
    })

    it('and may not make buckets by that', async () => {
      const making = as('person', 'authenticated', async (sql) => {
        await lie(sql)
        await sql`insert into storage.buckets (id, name, owner_id) values ('mine', 'mine', ${victim})`
      })
      await expect(making).rejects.toMatchObject({ code: '42501' })
    })

    it('and cannot have events say what Strongroom did, nor delete where only Strongroom may', async () => {
      await site.admin.unsafe(`
        create policy "open" on storage.objects for all to anon using (bucket_id = 'shared') with check (bucket_id = 'shared');
        create trigger protect before delete on storage.objects for each statement execute function storage.protect_delete()`)
      try {
        await logins.person.begin(async (sql) => {
          await sql`set local role anon`
          await lie(sql)
          await sql`insert into storage.objects (bucket_id, name) values ('shared', 'planted.txt')`
        })
        const [event] = await site.admin`select operation from storage.events where name = 'planted.txt'`
        expect(event).toEqual({ operation: null })
        const deleting = as('person', 'anon', async (sql) => {
          await lie(sql)
          await sql`delete from storage.objects where name = 'planted.txt'`
        })
        await expect(deleting).rejects.toMatchObject({ code: '42501' })
        // As Strongroom does it, it goes.
        expect((await site.server.request('DELETE', '/object/shared/planted.txt')).status).toBe(204)
      } finally {
        await site.admin.unsafe(
          `drop policy "open" on storage.objects; drop trigger protect on storage.objects`,
        )
      }
    })

    it('which count where they come from a login that could do without, as PostgREST’s', async () => {
      const seen = await as('gateway', 'authenticated', async (sql) => {
        await lie(sql)
        const [who] = await sql`select auth.uid()`
        return [who?.uid, await sql`select name from storage.objects where bucket_id = 'private'`]
      })
      expect(seen).toEqual([victim, [{ name: 'diary.txt' }]])
    })
  })

  it('puts functions of his own in the place of those that policies use', async () => {
    await site.admin.unsafe(`
      create schema his_${suffix};
      grant create, usage on schema his_${suffix} to authenticated;
      create policy "folders" on storage.objects for select to authenticated
        using (bucket_id = 'private' and (storage.foldername(name))[1] = 'open' and storage.filename(name) <> 'secret.txt')`)
    try {
      for (const name of ['open/a.txt', 'closed/b.txt']) {
        expect((await site.server.request('POST', `/object/private/${name}`, { body: 'x' })).status).toBe(201)
      }
      const seen = await as('person', 'authenticated', async (sql) => {
        await sql.unsafe(`
          create function his_${suffix}.string_to_array(text, text) returns text[] language sql as $$ select '{open,x}'::text[] $$;
          create function his_${suffix}.reverse(text) returns text language sql as $$ select 'x'::text $$;
          create function his_${suffix}.current_setting(text, boolean) returns text language sql
            as $$ select '{"sub": "${victim}"}'::text $$;
          set local search_path = his_${suffix}, pg_catalog`)
        const rows = await sql`select name from storage.objects order by name`
        return rows.map(({ name }) => name)
      })
      expect(seen).toEqual(['open/a.txt'])
    } finally {
      await site.admin.unsafe(`drop policy "folders" on storage.objects; drop schema his_${suffix} cascade`)
    }
  })

  describe('takes our turns', () => {
    it.each([
      ['person', 'anon'],
      ['person', 'authenticated'],
      ['service', 'service_role'],
    ] as const)('but may not, as a %s’s login that is %s', async (login, role) => {
      for (const attempt of [
        "select storage.take_turn('cleanup')",
        "select storage.end_turn('cleanup')",
        'select storage.forget_turns()',
        `select * from storage.lock_resumable_upload('${randomUUID()}', true, 1)`,
        `select storage.unlock_resumable_upload('${randomUUID()}')`,
        'select * from strongroom.turns',
        "insert into strongroom.turns values ('cleanup', pg_backend_pid(), 10, null)",
        'lock table strongroom.turns in access exclusive mode',
        'lock table strongroom.ordering in share row exclusive mode',
        'select storage.order_events()',
      ]) {
        const attempting = as(login, role, (sql) => sql.unsafe(attempt))
        await expect(attempting, attempt).rejects.toMatchObject({ code: '42501' })
      }
    })

    it('by every advisory lock that he can think of and see, and nobody waits for him', async () => {
      const { server } = site
      const tus = new TusRequests(server)
      const url = await tus.begin({ bucket: 'shared', name: 'in-pieces.bin' }, 10)
      const [upload] = await site.admin`select id from storage.resumable_uploads where name = 'in-pieces.bin'`
      await besideInnocent(server, async () => {
        await logins.person.begin(async (sql) => {
          await sql`set local role authenticated`
          // Those that there were once, of the cleanup, the scrub, the move, migrations, and the order of events.
          for (const key of [0x5f726f6f, 0x5f726f70, 0x5f726f71, 0x5f726f72, 1601335157]) {
            await sql`select pg_advisory_xact_lock(${key}::bigint)`
          }
          for (const [name, seed] of [
            [String(upload?.id), 1601335156],
            ['nats', 1601335158],
          ] as const) {
            await sql`select pg_advisory_xact_lock(hashtextextended(${name}, ${seed}))`
          }
          const others = await sql`
            select classid::int, objid::int from pg_locks l join pg_database d on d.oid = l.database
            where locktype = 'advisory' and d.datname = current_database() and pid <> pg_backend_pid()`
          expect(others).toEqual([])
          const patched = await tus.send('PATCH', url, {
            headers: { 'upload-offset': '0', 'content-type': 'application/offset+octet-stream' },
            body: '0123456789',
          })
          expect(patched.status).toBe(204)
          const reader = await openEvents(server)
          await server.request('POST', '/object/shared/news.txt', { body: 'x' })
          await until(() => reader.heard().includes('object.created news.txt'), 'the event is heard of')
          reader.close()
        })
      })
    })
  })

  describe('knows the version of small bytes that he may not see', () => {
    const INLINE = '00000000-0000-0000-0000-000000000000'
    const secret = 'what nobody else may see'
    let version: string
    beforeEach(async () => {
      const token = await site.server.token(victim)
      await site.server.request('POST', '/object/private/secret.txt', { token, body: secret })
      const [row] = await site.admin`
        select version, bytes_bucket from storage.objects where bucket_id = 'private' and name = 'secret.txt'`
      expect(row?.bytes_bucket).toBe(INLINE)
      version = String(row?.version)
      await site.admin.unsafe(`
        create policy "open" on storage.objects for all to anon, authenticated
          using (bucket_id in ('shared', 'drawer')) with check (bucket_id in ('shared', 'drawer'))`)
    })
    afterEach(async () => {
      await site.admin.unsafe(`
        drop policy "open" on storage.objects;
        set storage.allow_delete_query = 'true';
        delete from storage.objects where name in ('secret.txt', 'his', 'hers', 'other')`)
    })

    const row = (bytes: string | null, version: string, bucket = 'shared') => `
      insert into storage.objects (bucket_id, name, bytes_bucket, version, metadata)
      values ('${bucket}', 'his', ${bytes === null ? 'null' : `'${bytes}'`}, '${version}', '{"size": ${secret.length}}')`
    const change = (set: string) =>
      `update storage.objects set ${set} where bucket_id = 'shared' and name = 'his'`
    /** What he tries, one statement after the other. */
    const attempts: [string, (version: string) => string[]][] = [
      ['says that his are there', (v) => [row(INLINE, v)]],
      ['copies them as if they were of his bucket', (v) => [row(null, v)]],
      ['in two steps', (v) => [row(null, v), change(`bytes_bucket = '${INLINE}'`)]],
      ['in two others', (v) => [row(INLINE, randomUUID()), change(`version = '${v}'`)]],
      ['of no version', (v) => [row(INLINE, 'none'), change(`version = '${v}'`)]],
      [
        'over a row of his',
        (v) => [
          row(INLINE, randomUUID()),
          `${row(INLINE, v)} on conflict (bucket_id, name) do update set version = excluded.version`,
          `${row(null, randomUUID())} on conflict (bucket_id, name) do update set version = '${v}'`,
        ],
      ],
      [
        'by a merge',
        (v) => [
          row(INLINE, randomUUID()),
          `merge into storage.objects o using (values (1)) one on o.bucket_id = 'shared' and o.name = 'his'
           when matched then update set version = '${v}'`,
        ],
      ],
      [
        'twice, as if one were a copy of the other',
        (v) => [`${row(INLINE, v)}, ('shared', 'hers', '${INLINE}', '${v}', '{}')`],
      ],
      ['spelled in capitals', (v) => [row(INLINE, v.toUpperCase())]],
      ['spelled without hyphens', (v) => [row(INLINE, v.replaceAll('-', ''))]],
      ['with row-level security off', (v) => ['set local row_security = off', row(INLINE, v)]],
      [
        'by way of another bucket',
        (v) => [row(null, v, 'drawer'), "update storage.objects set bucket_id = 'shared' where name = 'his'"],
      ],
    ]

    it.each(
      ['anon', 'authenticated'].flatMap((role) => attempts.map((attempt) => [role, ...attempt] as const)),
    )('but as %s, who %s, gets none of them', async (role, _, statements) => {
      const { server } = site
      for (const statement of statements(version)) {
        await logins.person
          .begin(async (sql) => {
            await sql.unsafe(`set local role ${role}`)
            await sql.unsafe(statement)
          })
          .catch((error: unknown) => expect(error).toMatchObject({ code: '42501' }))
      }
      for (const path of ['shared/his', 'shared/hers', 'drawer/his']) {
        expect(await (await server.request('GET', `/object/${path}`)).text(), path).not.toContain(secret)
      }
      expect(await (await server.request('GET', '/object/private/secret.txt')).text()).toBe(secret)
    })

    it('and does not get them when their object has gone', async () => {
      const { server } = site
      const trying = (statement: string) =>
        logins.person.begin(async (sql) => {
          await sql`set local role anon`
          await sql.unsafe(statement)
        })
      await trying(row(null, version))
      expect((await server.request('DELETE', '/object/private/secret.txt')).ok).toBe(true)
      await expect(trying(change(`bytes_bucket = '${INLINE}'`))).rejects.toMatchObject({ code: '42501' })
      expect((await server.request('GET', '/object/shared/his')).status).toBe(404)
    })

    it('and copies those of a bucket that he writes to, as he could, and moves them', async () => {
      const { server } = site
      await server.request('POST', '/object/shared/other', { body: 'everybody’s' })
      await logins.person.begin(async (sql) => {
        await sql`set local role authenticated`
        await sql`
          insert into storage.objects (bucket_id, name, version, metadata)
          select bucket_id, 'his', version, metadata from storage.objects where bucket_id = 'shared' and name = 'other'`
        await sql`
          insert into storage.objects (bucket_id, name, version, bytes_bucket, metadata)
          select bucket_id, 'hers', version, bytes_bucket, metadata from storage.objects
          where bucket_id = 'shared' and name = 'other'`
        await sql`update storage.objects set bucket_id = 'drawer' where bucket_id = 'shared' and name = 'his'`
      })
      for (const path of ['drawer/his', 'shared/hers']) {
        expect(await (await server.request('GET', `/object/${path}`)).text(), path).toBe('everybody’s')
      }
    })

    it.each(['service', 'gateway'] as const)(
      'and service_role, by the %s, may, who sees them anyway',
      async (login) => {
        await logins[login].begin(async (sql) => {
          await sql`set local role service_role`
          await sql.unsafe(row(INLINE, version))
        })
        expect(await (await site.server.request('GET', '/object/shared/his')).text()).toBe(secret)
      },
    )
  })

  it('says of what parts bytes are, and nobody believes him; copies of others keep what is known', async () => {
    const { server, admin } = site
    const token = await server.token(victim)
    // A file, as all is that came in parts.
    const body = 'x'.repeat(20_000)
    const store = (name: string) => server.request('POST', `/object/shared/${name}`, { token, body })
    const versionOf = async (name: string) =>
      String(
        (await admin`select version from storage.objects where bucket_id = 'shared' and name = ${name}`)[0]
          ?.version,
      )
    for (const name of ['of-parts.bin', 'target.bin']) expect((await store(name)).status).toBe(201)
    const source = await versionOf('of-parts.bin')
    await admin`update storage.objects set checksum = null where version in (${source}, ${await versionOf('target.bin')})`
    await admin`insert into storage.version_parts (version, parts) values (${source}, '[]')`
    // The client of a resumable upload knows its version before its row is there.
    await new TusRequests(server).begin({ bucket: 'shared', name: 'his.bin' }, 10)
    const [his] = await admin`select id from storage.resumable_uploads where name = 'his.bin'`
    for (const target of [await versionOf('target.bin'), String(his?.id), randomUUID()]) {
      for (const role of ['anon', 'authenticated']) {
        await logins.person.begin(async (sql) => {
          await sql.unsafe(`set local role ${role}`)
          await sql`select storage.copy_version_parts(${source}, ${target})`
        })
      }
      expect(await admin`select from storage.version_parts where version = ${target}`, target).toEqual([])
    }
    const copy = { bucketId: 'shared', sourceKey: 'of-parts.bin', destinationKey: 'copy.bin' }
    expect((await server.request('POST', '/object/copy', { token, body: copy })).status).toBe(200)
    const copied =
      await admin`select parts from storage.version_parts where version = ${await versionOf('copy.bin')}`
    expect(copied).toEqual([{ parts: [] }])
  })

  describe('speaks on our channel', () => {
    it('but does not learn its name', async () => {
      for (const [login, role] of [
        ['person', 'anon'],
        ['person', 'authenticated'],
        ['service', 'service_role'],
      ] as const) {
        for (const attempt of ['select name from strongroom.channel', 'select storage.events_channel()']) {
          const attempting = as(login, role, (sql) => sql.unsafe(attempt))
          await expect(attempting, `${role}: ${attempt}`).rejects.toMatchObject({ code: '42501' })
        }
        const told = await as(
          login,
          role,
          (sql) => sql`select query from pg_stat_activity where query ~* 'listen' and pid <> pg_backend_pid()
            union all select prosrc from pg_proc where prosrc ~ 'strongroom_[0-9a-f]{8}'
            union all select * from pg_listening_channels()`,
        )
        expect([...told]).toEqual([])
      }
    })

    it('by the name that it had once, and nobody hears him', async () => {
      await besideInnocent(site.server, async () => {
        for (let i = 0; i < 500; i++) {
          await logins.person`select pg_notify('strongroom_events', ${String(Number.MAX_SAFE_INTEGER - i)})`
        }
      })
    })

    it('if somebody has told him its name, and can have a server look once too often, no more', async () => {
      const [row] = await site.admin`select name from strongroom.channel`
      await besideInnocent(site.server, async () => {
        for (const lie of [
          '9007199254740991',
          '1e400',
          'Infinity',
          '-1',
          'NaN',
          '',
          '{}',
          'x'.repeat(7000),
        ]) {
          await logins.person`select pg_notify(${String(row?.name)}, ${lie})`
        }
      })
    })
  })
})
