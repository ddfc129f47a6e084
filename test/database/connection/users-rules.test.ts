import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { file, form, MULTIPART } from '../../support/multipart.ts'
import { withPolicies } from '../../support/policies.ts'
import { type RequestOptions, startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift, expectNothingWritten } from '../../support/traces.ts'
import { metadataOf } from '../../support/tus-requests.ts'

/* What users' own triggers, policies and constraints say reaches whoever asks, as theirs, and nothing takes it for ours. */

type Request = [method: string, path: string, init?: RequestOptions]
/** On an object `name` that is there, or a `free` name, in `box`. */
type Operation = (name: string, free: string) => Request

const [, formType = ''] = MULTIPART.split(': ')
const upsert = { 'x-upsert': 'true' }
const rename = (name: string, free: string) => ({ bucketId: 'box', sourceKey: name, destinationKey: free })
const tus = (name: string) => ({
  'tus-resumable': '1.0.0',
  'upload-length': '5',
  'upload-metadata': metadataOf({ bucketName: 'box', objectName: name }),
})

const INSERTS: [what: string, operation: Operation][] = [
  ['a small upload', (_, free) => ['POST', `/object/box/${free}`, { body: 'hello' }]],
  ['a large upload', (_, free) => ['POST', `/object/box/${free}`, { body: 'x'.repeat(400_000) }]],
  [
    'a form',
    (_, free) => [
      'POST',
      `/object/box/${free}`,
      { headers: { 'content-type': formType }, body: form(file('hello')) },
    ],
  ],
  ['an upsert', (_, free) => ['POST', `/object/box/${free}`, { headers: upsert, body: 'hello' }]],
  ['a PUT', (_, free) => ['PUT', `/object/box/${free}`, { body: 'hello' }]],
  [
    'a PUT on a condition',
    (_, free) => ['PUT', `/object/box/${free}`, { headers: { 'if-none-match': '*' }, body: 'hello' }],
  ],
  ['a copy', (name, free) => ['POST', '/object/copy', { body: rename(name, free) }]],
  ['the signing of an upload', (_, free) => ['POST', `/object/upload/sign/box/${free}`]],
  ['a resumable upload', (_, free) => ['POST', '/upload/resumable', { headers: tus(free) }]],
]
const UPDATES: typeof INSERTS = [
  ['an overwrite', (name) => ['PUT', `/object/box/${name}`, { body: 'hello' }]],
  ['a large overwrite', (name) => ['PUT', `/object/box/${name}`, { body: 'x'.repeat(400_000) }]],
  ['a move', (name, free) => ['POST', '/object/move', { body: rename(name, free) }]],
]
const DELETES: typeof INSERTS = [
  ['a delete', (name) => ['DELETE', `/object/box/${name}`]],
  ['a bulk delete', (name) => ['DELETE', '/object/box', { body: { prefixes: [name] } }]],
  ['the emptying of a bucket', () => ['POST', '/bucket/box/empty']],
]
const READS: typeof INSERTS = [
  ['a download', (name) => ['GET', `/object/box/${name}`]],
  ['an authenticated download', (name) => ['GET', `/object/authenticated/box/${name}`]],
  ['info', (name) => ['GET', `/object/info/box/${name}`]],
  ['a list', () => ['POST', '/object/list/box', { body: { prefix: '' } }]],
  ['a page of a list', () => ['POST', '/object/list-v2/box', { body: {} }]],
  ['signing', (name) => ['POST', `/object/sign/box/${name}`, { body: { expiresIn: 60 } }]],
  ['the signing of many', (name) => ['POST', '/object/sign/box', { body: { expiresIn: 60, paths: [name] } }]],
  ['a copy', (name, free) => ['POST', '/object/copy', { body: rename(name, free) }]],
]

describe.each([
  ['by default', {}],
  ['under STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }],
])('%s', (_mode, env: Record<string, string>) => {
  const isCompat = 'STORAGE_COMPAT' in env
  let server: TestServer
  let user: string

  beforeAll(async () => {
    server = await startTestServer(env)
    user = await server.token('a-user')
    await server.createBucket('box')
  })
  afterAll(async () => {
    await expectNoDrift(server)
    await server.close()
  })

  async function ask(request: Request, token?: string) {
    const [method, path, init] = request
    const response = await server.request(method, path, { ...(token !== undefined && { token }), ...init })
    const text = await response.text()
    // The resumable surface tells its errors in plain text and in true statuses.
    const isPlain = path.startsWith('/upload/resumable')
    const isJson = response.headers.get('content-type')?.startsWith('application/json')
    const body = isJson ? JSON.parse(text) : {}
    return {
      http: response.status,
      status: isPlain ? String(response.status) : body.statusCode,
      isPlain,
      text,
      body,
    }
  }

  /** An object of the service's, and a name that is free. */
  async function stored(): Promise<[name: string, free: string]> {
    const name = randomUUID()
    expect((await ask(['POST', `/object/box/${name}`, { body: 'x' }])).http).toBeLessThan(300)
    return [name, randomUUID()]
  }

  async function withTrigger<T>(
    [when, table]: [when: string, table: string],
    body: string,
    work: () => Promise<T>,
  ): Promise<T> {
    await server.admin.unsafe(`
      create function public.users_rule() returns trigger language plpgsql as $f$ begin ${body} end $f$;
      create trigger users_rule ${when} on storage.${table} for each row execute function public.users_rule();`)
    try {
      return await work()
    } finally {
      await server.admin.unsafe('drop function public.users_rule cascade')
    }
  }

  describe('what a trigger raises', () => {
    const RAISE = `raise exception 'Your plan allows % files', 3 using detail = 'You have 3.', hint = 'Delete one.';`
    const SAID = 'Your plan allows 3 files\nDetail: You have 3.\nHint: Delete one.'

    it.each([
      ...INSERTS.map(([what, operation]) => [what, 'before insert', operation] as const),
      ...UPDATES.map(([what, operation]) => [what, 'after update', operation] as const),
      ...DELETES.map(([what, operation]) => [what, 'before delete', operation] as const),
    ])('is told to whoever asked for %s (%s), and nothing is changed', async (_what, when, operation) => {
      const [name, free] = await stored()
      const answer = await withTrigger([when, 'objects'], RAISE, () =>
        expectNothingWritten(server, () => ask(operation(name, free))),
      )
      if (answer.isPlain) expect([answer.http, answer.text]).toEqual([400, SAID])
      else {
        expect(answer.body).toEqual({
          statusCode: isCompat ? '500' : '400',
          error: 'DatabaseError',
          code: 'DatabaseError',
          message: SAID,
        })
        expect(answer.http).toBe(isCompat ? 500 : 400)
      }
    })

    it.each<[what: string, when: string, request: Request]>([
      ['made', 'before insert', ['POST', '/bucket', { body: { name: 'another' } }]],
      ['changed', 'before update', ['PUT', '/bucket/box', { body: { public: false } }]],
      ['deleted', 'before delete', ['DELETE', '/bucket/empty']],
    ])('is told when a bucket is %s', async (_what, when, request) => {
      await server.admin`insert into storage.buckets (id, name) values ('empty', 'empty') on conflict do nothing`
      const answer = await withTrigger([when, 'buckets'], RAISE, () => ask(request))
      expect([answer.status, answer.body.message]).toEqual([isCompat ? '500' : '400', SAID])
    })

    it('is told at the end of a signed and of a resumable upload', async () => {
      const [, free] = await stored()
      const signed = await ask(['POST', `/object/upload/sign/box/${free}`])
      const begun = await server.request('POST', '/upload/resumable', { headers: tus(free) })
      const location = new URL(begun.headers.get('location') ?? '').pathname
      const piece = {
        'tus-resumable': '1.0.0',
        'upload-offset': '0',
        'content-type': 'application/offset+octet-stream',
      }
      const atTheEnd = `if new.version <> '1' then ${RAISE} end if; return new;`
      await withTrigger(['before insert', 'objects'], atTheEnd, async () => {
        const put = await ask([
          'PUT',
          `/object/upload/sign/box/${free}?token=${signed.body.token}`,
          { body: 'x' },
        ])
        expect(put.body.message).toBe(SAID)
        const patch = await server.request('PATCH', location, { headers: piece, body: 'hello' })
        expect([patch.status, await patch.text()]).toEqual([400, SAID])
      })
      const ended = await server.request('DELETE', location, { headers: { 'tus-resumable': '1.0.0' } })
      expect(ended.status).toBe(204)
    })

    it.each<[state: string, plain: number]>([
      ['PT402', 402],
      ['PT429', 429],
      ['PT599', 599],
      // Not a status of an error: no success, and no other answer either.
      ['PT200', 400],
      ['PT304', 400],
      ['PT999', 400],
    ])('with SQLSTATE %s answers %i, and stores nothing', async (state, plain) => {
      const raise = `raise sqlstate '${state}' using message = 'Pay first', hint = 'At the counter.';`
      for (const [, operation] of INSERTS) {
        const [name, free] = await stored()
        const answer = await withTrigger(['before insert', 'objects'], raise, () =>
          expectNothingWritten(server, () => ask(operation(name, free))),
        )
        expect(answer.http).toBe(isCompat && !answer.isPlain ? 500 : plain)
        expect(answer.text).toContain('Pay first')
      }
    })

    it('is cut where it is endless', async () => {
      const [name, free] = await stored()
      const raise = `raise exception '%', repeat('x', 1000000);`
      const answer = await withTrigger(['before insert', 'objects'], raise, () =>
        ask(['POST', '/object/copy', { body: rename(name, free) }]),
      )
      expect(answer.body.message).toMatch(/^x{1000}…$/)
    })
  })

  describe('a trigger that skips the row', () => {
    it.each(INSERTS)('of %s: 403, and nothing is stored', async (_what, operation) => {
      const [name, free] = await stored()
      const answer = await withTrigger(['before insert', 'objects'], 'return null;', () =>
        expectNothingWritten(server, () => ask(operation(name, free))),
      )
      expect(answer.status).toBe('403')
      expect(answer.text).toContain('A trigger of the database has left it out; nothing is stored')
    })

    it('of a new bucket: 403, and there is none', async () => {
      const answer = await withTrigger(['before insert', 'buckets'], 'return null;', () =>
        ask(['POST', '/bucket', { body: { name: 'skipped' } }]),
      )
      expect([answer.status, answer.body.code]).toEqual(['403', 'AccessDenied'])
      expect((await ask(['GET', '/bucket/skipped'])).status).toBe('404')
    })

    it.each([
      ['a move', 'before update', UPDATES[2]?.[1]],
      ['a delete', 'before delete', DELETES[0]?.[1]],
    ] as const)('of %s: 403, in no words about new rows', async (_what, when, operation) => {
      const [name, free] = await stored()
      const answer = await withTrigger([when, 'objects'], 'return null;', () =>
        expectNothingWritten(server, () => ask(operation?.(name, free) ?? ['', ''])),
      )
      expect([answer.status, answer.body.message]).toEqual([
        '403',
        'The policies or triggers of the database keep it as it is',
      ])
    })

    it('keeps a bucket from being emptied, which is not told as a success', async () => {
      await server.createBucket('kept')
      for (const name of ['keep', 'other']) await ask(['POST', `/object/kept/${name}`, { body: 'x' }])
      const keep = `if old.name = 'keep' then return null; end if; return old;`
      const answer = await withTrigger(['before delete', 'objects'], keep, () =>
        ask(['POST', '/bucket/kept/empty']),
      )
      expect(answer).toMatchObject({ status: '409', body: { code: 'ResourceNotEmpty' } })
      expect((await ask(['POST', '/bucket/kept/empty'])).http).toBe(200)
    })
  })

  it('a delete that policies refuse is refused in no words about new rows', async () => {
    const [name] = await stored()
    const seen = `create policy "see" on storage.objects for select to authenticated using (true)`
    const answer = await withPolicies(server.admin, seen, () => ask(['DELETE', `/object/box/${name}`], user))
    expect([answer.status, answer.body.code]).toEqual(['403', 'AccessDenied'])
    expect(answer.body.message).toBe('The policies or triggers of the database keep it as it is')
  })

  describe('a table of the user’s that a trigger writes to', () => {
    beforeAll(async () => {
      await server.admin.unsafe(`
        create table public.kinds (kind text primary key);
        insert into public.kinds values ('plain');
        create table public.audit (
          name text constraint audit_once unique,
          size int constraint audit_small check (size < 10),
          kind text not null default 'plain' constraint audit_kind references public.kinds (kind)
        );
        alter table public.audit enable row level security;
        grant all on public.audit, public.kinds to public`)
    })

    it.each<[what: string, values: string, plain: string, compat: string, said: string]>([
      [
        'twice',
        `('same', 1)`,
        '400',
        '409',
        'duplicate key value violates unique constraint "audit_once" (SQLSTATE 23505)',
      ],
      [
        'what a check forbids',
        `('secret-value', 10)`,
        '400',
        '500',
        'new row for relation "audit" violates check constraint "audit_small" (SQLSTATE 23514)',
      ],
      [
        'a reference to nothing',
        `('a', 1, 'secret-value')`,
        '400',
        '404',
        'insert or update on table "audit" violates foreign key constraint "audit_kind" (SQLSTATE 23503)',
      ],
      [
        'no value where one is needed',
        `('a', 1, null)`,
        '400',
        '500',
        'null value in column "kind" of relation "audit" violates not-null constraint (SQLSTATE 23502)',
      ],
    ])(
      '%s: is not said to be there already, nor to be no bucket',
      async (_what, values, plain, compat, said) => {
        await server.admin`insert into public.audit values ('same', 1) on conflict do nothing`
        const write = `insert into public.audit values ${values}; return new;`
        for (const [, operation] of INSERTS) {
          const [name, free] = await stored()
          const answer = await withTrigger(['before insert', 'objects'], write, () =>
            expectNothingWritten(server, () => ask(operation(name, free))),
          )
          expect(answer.status).toBe(isCompat && !answer.isPlain ? compat : plain)
          expect(answer.text.replaceAll('\\"', '"')).toContain(said)
          expect(answer.text).not.toMatch(
            /already exists|Bucket not found|secret-value|Duplicate|new row violates row/,
          )
        }
      },
    )

    it('whose own policies refuse is not said to be the object’s', async () => {
      const write = `insert into public.audit values ('a', 1); return new;`
      const mayWrite = `create policy "write" on storage.objects for insert to authenticated with check (true)`
      const answer = await withTrigger(['before insert', 'objects'], write, () =>
        withPolicies(server.admin, mayWrite, () =>
          ask(['POST', `/object/box/${randomUUID()}`, { body: 'x' }], user),
        ),
      )
      expect(answer.status).toBe('403')
      expect(answer.body.message).toContain('policy for table "audit" (SQLSTATE 42501)')
    })
  })

  describe('a policy that fails', () => {
    it.each<[what: string, body: string, said: string, plain: string, compat: string]>([
      [
        '21000',
        'return (select true from generate_series(1, 2));',
        'more than one row returned',
        '500',
        '500',
      ],
      [
        '22012',
        'return 1 / (select count(*) - count(*) from pg_class) = 1;',
        'division by zero',
        '500',
        '500',
      ],
      ['22P02', `return name::uuid is not null;`, 'invalid input syntax for type uuid: "…"', '400', '400'],
      [
        '42P01',
        'return (select true from public.nowhere);',
        'relation "public.nowhere" does not exist',
        '500',
        '503',
      ],
      [
        '42703',
        'return (select nothing from storage.buckets limit 1);',
        'column "nothing" does not exist',
        '500',
        '503',
      ],
      ['42883', 'return public.nothing();', 'function public.nothing() does not exist', '500', '503'],
      ['42601', `execute 'selec'; return true;`, 'syntax error at or near "selec"', '500', '500'],
    ])('with SQLSTATE %s says so, whatever asks it', async (state, body, said, plain, compat) => {
      const name = `-not-a-uuid-${randomUUID()}`
      await ask(['POST', `/object/box/${name}`, { body: 'x' }])
      const sql = `
        create or replace function public.broken(name text) returns boolean language plpgsql stable as
          $$ begin ${body} end $$;
        create policy "broken" on storage.objects for select to authenticated using (public.broken(name));`
      await withPolicies(server.admin, sql, async () => {
        for (const [what, operation] of READS) {
          const answer = await ask(operation(name, randomUUID()), user)
          expect([what, answer.status]).toEqual([what, isCompat ? compat : plain])
          const sentence = `A policy, trigger or constraint of the database failed: ${said}`
          expect(answer.body.message).toContain(sentence)
          expect(answer.body.message).toContain(`(SQLSTATE ${state})`)
          expect(answer.body.message).not.toContain('not-a-uuid')
        }
        // Whom it does not concern hears nothing of it.
        expect((await ask(['GET', `/object/info/box/${name}`])).http).toBe(200)
      })
    })

    it('says nothing of the server’s own troubles', async () => {
      const [name] = await stored()
      const body = `raise exception 'the secret detail' using errcode = 'XX000';`
      const answer = await withTrigger(['before delete', 'objects'], body, () =>
        ask(['DELETE', `/object/box/${name}`]),
      )
      expect([answer.status, answer.body.code]).toEqual(['500', 'DatabaseError'])
      expect(answer.text).not.toContain('secret')
    })
  })

  describe('a reference of a table of the user’s', () => {
    const reference = async (definition: string, values: string) => {
      await server.admin.unsafe(`
        create table public.posts (${definition});
        insert into public.posts ${values};`)
    }
    const drop = () => server.admin`drop table if exists public.posts`

    it.each(['', 'on delete restrict', 'deferrable initially deferred'])(
      'to an object (%s) keeps it: 409, and what keeps it is named',
      async (how) => {
        const [name] = await stored()
        await reference(
          `picture uuid constraint posts_picture references storage.objects (id) ${how}`,
          `select id from storage.objects where name = '${name}'`,
        )
        try {
          for (const [, operation] of DELETES) {
            const answer = await ask(operation(name, ''))
            expect(answer).toMatchObject({ status: '409', body: { code: 'ResourceReferenced' } })
            expect(answer.body.message).toBe(
              'The object is still referenced by the table public.posts, constraint posts_picture',
            )
          }
          // Its bytes are there, and may be replaced.
          expect((await ask(['GET', `/object/box/${name}`])).text).toBe('x')
          expect((await ask(['PUT', `/object/box/${name}`, { body: 'y' }])).http).toBe(200)
        } finally {
          await drop()
        }
      },
    )

    it('to an object’s name keeps it from being moved', async () => {
      const [name, free] = await stored()
      await reference(
        `bucket text, name text, constraint posts_name foreign key (bucket, name) references storage.objects (bucket_id, name)`,
        `values ('box', '${name}')`,
      )
      try {
        const answer = await ask(['POST', '/object/move', { body: rename(name, free) }])
        expect([answer.status, answer.body.message]).toEqual([
          '409',
          'The object is still referenced by the table public.posts, constraint posts_name',
        ])
      } finally {
        await drop()
      }
    })

    it.each(['', 'on delete restrict'])('to a bucket (%s) keeps it', async (how) => {
      await server.createBucket('wanted')
      await reference(
        `bucket text constraint posts_bucket references storage.buckets (id) ${how}`,
        `values ('wanted')`,
      )
      try {
        const answer = await ask(['DELETE', '/bucket/wanted'])
        expect(answer).toMatchObject({ status: '409', body: { code: 'ResourceReferenced' } })
        expect(answer.body.message).toBe(
          'The bucket is still referenced by the table public.posts, constraint posts_bucket',
        )
      } finally {
        await drop()
      }
      expect((await ask(['DELETE', '/bucket/wanted'])).http).toBe(200)
    })

    it('is none of an object that cascades', async () => {
      const [name] = await stored()
      await reference(
        'picture uuid references storage.objects (id) on delete cascade',
        `select id from storage.objects where name = '${name}'`,
      )
      try {
        expect((await ask(['DELETE', `/object/box/${name}`])).http).toBeLessThan(300)
        expect(await server.admin`select from public.posts`).toEqual([])
      } finally {
        await drop()
      }
    })
  })
})
