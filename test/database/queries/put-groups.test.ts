import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { openDatabase } from '../../../src/database/connection/client.ts'
import { findBucketSettings, type KnownSettings } from '../../../src/database/queries/buckets.ts'
import {
  type GroupedPut,
  type GroupOutcome,
  putObject,
  putObjects,
} from '../../../src/database/queries/put-object.ts'
import { hasCode, StorageError } from '../../../src/model/errors.ts'
import { INLINE_BUCKET } from '../../../src/model/location.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { dropPolicies } from '../../support/policies.ts'
import { until } from '../../support/wait.ts'

/* storage.put_objects: callers who know nothing of each other have one transaction, and none of them can tell. */

let test: TestDatabase
let bucket: KnownSettings
beforeAll(async () => {
  test = await createTestDatabase({ connections: 10, spareConnections: 2 })
  await test.admin.unsafe(`
    insert into storage.buckets (id, name, policy) values ('users', 'users', 'authenticated');
    create table public.notes (id bigserial, name text, note text);
    grant all on public.notes, public.notes_id_seq to anon, authenticated, service_role`)
  const found = await findBucketSettings(test.database, 'users')
  if (!found) throw new Error('there is no bucket')
  bucket = found
})
afterAll(() => test.drop())
afterEach(async () => {
  await dropPolicies(test.admin)
  await test.admin.unsafe('drop function if exists public.rule cascade; truncate public.notes')
})

/** A policy of users' that is asked about each new row, with the row's `name`. */
async function policy(body: string): Promise<void> {
  await test.admin.unsafe(`
    create function public.rule(name text) returns boolean volatile language plpgsql as $$ begin
      ${body};
      return true;
    end $$;
    create policy "rule" on storage.objects as restrictive for insert to public with check (public.rule(name))`)
}

function putOf(name: string, { subject = randomUUID() as string, upsert = false } = {}): GroupedPut {
  const caller = {
    role: 'authenticated',
    subject,
    claims: { sub: subject, role: 'authenticated' },
    token: `token of ${subject}`,
    operation: `storage.${name}`,
    method: 'POST',
    path: `/object/users/${name}`,
    headers: { 'x-mine': name },
    userBuckets: false,
  }
  const bytes = Buffer.from(`bytes of ${name}`)
  const object = {
    bucketId: 'users',
    name,
    version: randomUUID(),
    bytesBucket: INLINE_BUCKET,
    ownerId: subject,
    metadata: {
      eTag: '"0"',
      size: bytes.length,
      mimetype: 'text/plain',
      cacheControl: 'no-cache',
      lastModified: new Date().toISOString(),
      contentLength: bytes.length,
      httpStatusCode: 200,
    },
    userMetadata: { by: name, quoted: '"\\' },
    checksum: '0'.repeat(64),
    tags: ['a', '"b", {c}'],
    attributes: { fileName: 'its "name"' },
  }
  return { caller, put: { object, bytes, upsert, bucket } }
}

let round = 0

/** Names in the order in which they are put. */
const freshNames = (count: number) => {
  round++
  return Array.from({ length: count }, (_, place) => `${round}-${place}`)
}

/** Sends a group on a connection for groups, as soon as there is one. On a busy machine its time may be up before it begins. */
async function send(puts: GroupedPut[], database = test.database): Promise<GroupOutcome> {
  for (;;) {
    const sent = database.groups?.during((connection) => putObjects(connection, puts))
    if (!sent) await delay(5)
    else {
      const told = await sent.catch((error: unknown) => {
        if (!hasCode(error, 'DatabaseTimeout')) throw error
      })
      if (told) return told
    }
  }
}

/** Of which puts, by place, something was done. */
const doneOf = ({ outcomes }: GroupOutcome) => outcomes.flatMap((outcome, place) => (outcome ? [place] : []))

/** Sends groups of new names until one has gone as expected: on a busy machine time may be up early. */
async function sendUntil(make: (names: string[]) => GroupedPut[], done: number[]): Promise<GroupedPut[]> {
  let puts: GroupedPut[] = []
  await until(async () => {
    puts = make(freshNames(8))
    return doneOf(await send(puts)).join() === done.join()
  }, `of a group ${done} are done`)
  return puts
}

const namesOf = (puts: GroupedPut[]) => puts.map(({ put }) => put.object.name)

/** What there is of them. */
async function rowsOf(puts: GroupedPut[]) {
  return test.admin`
    select o.name, o.owner_id, convert_from(i.bytes, 'utf8') as bytes, o.user_metadata, o.tags, e.operation
    from storage.objects o
    join storage.inline_bytes i on i.version::text = o.version
    join storage.events e on e.version = o.version
    where o.name = any (${namesOf(puts)}) order by e.id`
}

const expectedRows = (puts: GroupedPut[]) =>
  puts.map(({ caller, put: { object } }) => ({
    name: object.name,
    owner_id: caller.subject,
    bytes: `bytes of ${object.name}`,
    user_metadata: object.userMetadata,
    tags: object.tags,
    operation: caller.operation,
  }))

const ALL = [0, 1, 2, 3, 4, 5, 6, 7]

describe('the objects of a group', () => {
  it('are there, each with its own bytes, owner and event, in their order', async () => {
    const puts = await sendUntil((names) => names.map((name) => putOf(name)), ALL)
    expect([...(await rowsOf(puts))]).toEqual(expectedRows(puts))
  })

  it('have events in the traces of their own callers, and in none for a caller without one', async () => {
    const traceOf = (place: number) => (place % 2 === 0 ? `trace ${place}` : undefined)
    const puts = await sendUntil(
      (names) =>
        names.map((name, place) => {
          const { caller, put } = putOf(name)
          return { caller: { ...caller, traceparent: traceOf(place) }, put }
        }),
      ALL,
    )
    const rows = await test.admin<{ traceparent: string | null }[]>`
      select traceparent from storage.events where name = any (${namesOf(puts)}) order by id`
    expect(rows.map(({ traceparent }) => traceparent)).toEqual(ALL.map((place) => traceOf(place) ?? null))
  })

  it('are told as if each had come alone', async () => {
    await sendUntil((names) => names.map((name) => putOf(name)), ALL)
    const puts = freshNames(2).map((name) => putOf(name))
    const [one, other] = puts as [GroupedPut, GroupedPut]
    const alone = await putObject(test.database, one.caller, one.put)
    let grouped: GroupOutcome['outcomes'][number] = null
    await until(async () => {
      grouped = (await send([other])).outcomes[0] ?? null
      return grouped !== null
    }, 'it is done')
    const times = { createdAt: expect.any(Date), updatedAt: expect.any(Date) }
    const saved = { id: expect.any(String), ...times, versionId: null }
    expect(alone).toEqual({ saved: { ...saved, created: true, ownerId: one.caller.subject }, removals: [] })
    expect(grouped).toEqual({
      saved: { ...saved, created: true, ownerId: other.caller.subject },
      removals: [],
    })
  })

  it('tell what they replace once, and not what another one does', async () => {
    const names = freshNames(8)
    const files = new Map<string, string>()
    await test.admin`delete from storage.removals`
    for (const name of names) {
      const file = { ...putOf(name).put, bytes: null, sweep: '' }
      const { object } = file
      await test.admin`
        insert into storage.objects (bucket_id, name, version, bytes_bucket, owner_id, metadata, checksum)
        values ('users', ${name}, ${object.version}, ${bucket.uid}, 'x', '{}', ${object.checksum})`
      files.set(name, object.version)
    }
    await policy('null')
    await test.admin.unsafe(`
      create policy "over" on storage.objects for update to authenticated using (true);
      create policy "seen" on storage.objects for select to authenticated using (true)`)
    let left = names
    await until(async () => {
      const puts = left.map((name) => putOf(name, { upsert: true }))
      const { outcomes } = await send(puts)
      outcomes.forEach((outcome, place) => {
        const name = left[place] ?? ''
        if (outcome)
          expect(outcome).toMatchObject({ removals: [{ bucket: bucket.uid, version: files.get(name) }] })
      })
      left = left.filter((_, place) => !outcomes[place])
      return left.length === 0
    }, 'all are replaced')
  })

  it('have nothing done when the bucket has other settings, which are told', async () => {
    const stale = { ...bucket, mark: 'of before' }
    const puts = freshNames(3).map((name) => putOf(name))
    const [, second] = puts as [GroupedPut, GroupedPut, GroupedPut]
    second.put.bucket = stale
    await until(async () => {
      const { outcomes } = await send(puts)
      if (outcomes[1]) expect(outcomes[1]).toEqual({ saved: null, bucket })
      return outcomes[1] !== null
    }, 'it is told')
  })
})

/** All that a policy can ask about who it is, in one text. */
const SAID = `concat_ws('|', auth.uid(), auth.role(), auth.jwt()->>'sub', current_user, session_user, storage.operation(),
  current_setting('request.method', true), current_setting('request.jwt.claim.sub', true),
  current_setting('request.headers', true)::jsonb->>'x-mine', current_setting('search_path'),
  current_setting('TimeZone'), current_setting('transaction_read_only'), nullif(current_setting('app.mine', true), ''))`

const saidOf = ({ caller, put }: GroupedPut) =>
  [
    ...[caller.subject, 'authenticated', caller.subject, 'authenticated', 'strongroom_server'],
    ...[caller.operation, 'POST', caller.subject, put.object.name, 'storage, public', 'UTC', 'off'],
  ].join('|')

/** What the policy has noted of them, as far as they are there, is what each is. */
async function expectOwnNotes(puts: GroupedPut[]): Promise<void> {
  const notes = await test.admin<{ name: string; note: string }[]>`
    select name, note from public.notes where name = any (${namesOf(puts)})`
  const said = new Map(puts.map((put) => [put.put.object.name, saidOf(put)]))
  expect(notes.map(({ note }) => note)).toEqual(notes.map(({ name }) => said.get(name)))
}

describe.each<[string, string, number?]>([
  ['nothing', 'null'],
  ['a setting of its own', "set_config('app.mine', auth.uid()::text, true)"],
  ['a setting of its own for ever', "set_config('app.mine', auth.uid()::text, false)"],
  ['other claims', `set_config('request.jwt.claims', '{"sub":"another","role":"service_role"}', true)`],
  ['other claims for ever', `set_config('request.jwt.claims', '{"sub":"another"}', false)`],
  ['another subject', "set_config('request.jwt.claim.sub', 'another', true)"],
  ['another operation for ever', "set_config('storage.operation', 'another', false)"],
  ['that nobody is who it is', "set_config('role', 'none', true)"],
  ['another role', "set_config('role', 'service_role', true)"],
  ['another role for ever', "set_config('role', 'service_role', false)"],
  ['another path', "set_config('search_path', 'public', true)"],
  ['another path for ever', "set_config('search_path', 'public', false)"],
  ['another time zone', "set_config('TimeZone', 'Asia/Tokyo', false)"],
  ['that nothing is written any more', "set_config('transaction_read_only', 'on', true)", 0],
])('what a policy sets: %s', (_, set, others = 2) => {
  it('reaches no other object of the group, nor the next group', async () => {
    // Set behind its own note, so that only another object can hear of it.
    await policy(`insert into public.notes (name, note) values (name, ${SAID}); perform ${set}`)
    const sent: GroupedPut[] = []
    await until(async () => {
      const puts = freshNames(8).map((name) => putOf(name))
      sent.push(...puts)
      return doneOf(await send(puts)).length >= others
    }, 'it goes on')
    await expectOwnNotes(sent)
    // And the session is as it was.
    await dropPolicies(test.admin)
    await sendUntil((names) => names.map((name) => putOf(name)), ALL)
  })
})

describe('a group of which PostgreSQL says that its time was up', () => {
  /** @param hasRun whether it says so behind the commit */
  const send = async (puts: GroupedPut[], hasRun: boolean): Promise<GroupOutcome> => {
    for (;;) {
      let isAsked = false
      const sent = test.database.groups?.during((connection) => {
        const run: typeof connection.run = async (statement, values) => {
          if (isAsked) return connection.run(statement, values)
          isAsked = true
          if (hasRun) await connection.run(statement, values)
          throw new StorageError('DatabaseTimeout')
        }
        return putObjects({ run }, puts)
      })
      if (sent) return sent
      await delay(5)
    }
  }

  it('is told of as it is there, when it has committed', async () => {
    let puts: GroupedPut[] = []
    await until(async () => {
      puts = freshNames(8).map((name) => putOf(name))
      const told = await send(puts, true).catch((error: unknown) => {
        if (!hasCode(error, 'DatabaseTimeout')) throw error // it was, on a busy machine
      })
      return told !== undefined && doneOf(told).join() === ALL.join()
    }, 'all of a group are told of')
    expect([...(await rowsOf(puts))]).toEqual(expectedRows(puts))
  })

  it('has failed when it has not, whatever groups of before have told', async () => {
    await sendUntil((names) => names.map((name) => putOf(name)), ALL)
    const puts = freshNames(8).map((name) => putOf(name))
    await expect(send(puts, false)).rejects.toMatchObject({ code: 'DatabaseTimeout' })
    expect([...(await rowsOf(puts))]).toEqual([])
  })
})

it('what a policy leaves for the end of the transaction is done as its own caller', async () => {
  await test.admin.unsafe(`
    create table public.later (name text);
    grant all on public.later to authenticated;
    create function public.note_later() returns trigger language plpgsql as $$ begin
      insert into public.notes (name, note) values (new.name, ${SAID});
      return null;
    end $$;
    create constraint trigger later after insert on public.later deferrable initially deferred
      for each row execute function public.note_later()`)
  await policy('insert into public.later values (name)')
  const puts = await sendUntil((names) => names.map((name) => putOf(name)), ALL)
  const [noted] = await test.admin`
    select count(*)::int from public.notes where name = any (${namesOf(puts)})`
  expect(noted).toEqual({ count: 8 })
  await expectOwnNotes(puts)
  await test.admin.unsafe('drop table public.later; drop function public.note_later')
})

it('what comes behind a policy that has become another login is left', async () => {
  const asSuperuser = openDatabase(
    { ...inject('postgres'), database: test.name, username: inject('postgres').superuser },
    { connections: 10, spareConnections: 2 },
  )
  await policy("perform set_config('session_authorization', 'strongroom_server', true)")
  await until(async () => {
    const told = await send(
      freshNames(8).map((name) => putOf(name)),
      asSuperuser,
    )
    expect(doneOf(told).filter((place) => place > 0)).toEqual([])
    return doneOf(told).length === 1
  }, 'the first one is done')
  await asSuperuser.close()
})

describe('one object of a group', () => {
  const others = [0, 1, 2, 4, 5, 6, 7]

  it.each([
    ['is denied', 'return false'],
    ['meets a policy that raises', "raise 'not today'"],
    ['meets a policy that says it is a deadlock', "raise 'because' using errcode = '40P01'"],
    ['meets a policy that cannot be computed', 'perform 1 / 0'],
    ['meets a policy whose assertion fails', 'assert false'],
    [
      'meets a policy that takes another role and fails',
      "perform set_config('role', 'service_role', false); perform 1 / 0",
    ],
    [
      'meets a policy that sets something and fails',
      "perform set_config('app.mine', 'x', false); return false",
    ],
    ['has the name of one that is there', 'null'],
  ])('that %s hurts no other, and nothing is left of it', async (what, body) => {
    await policy(`
      if name like '%-odd' then ${body}; end if;
      insert into public.notes (name, note) values (name, ${SAID})`)
    const isConflict = what.startsWith('has the name')
    if (isConflict)
      await test.admin`insert into storage.objects (bucket_id, name) values ('users', 'there-odd')`
    const make = (names: string[]) =>
      names.map((name, place) => putOf(place === 3 ? (isConflict ? 'there-odd' : `${name}-odd`) : name))
    const puts = await sendUntil(make, others)
    const innocent = others.flatMap((place) => puts[place] ?? [])
    expect([...(await rowsOf(innocent))]).toEqual(expectedRows(innocent))
    const [odd] = puts.slice(3, 4) as [GroupedPut]
    const versions = await test.admin`
      select from storage.inline_bytes where version = ${odd.put.object.version}
      union all select from storage.events where version = ${odd.put.object.version}`
    expect(versions.length).toBe(0)
    await expectOwnNotes(innocent)
  })

  it('that takes long does not hold up the others: it is told, and those behind it are left', async () => {
    // A group that waited for it would not be answered within the time of this test.
    await policy(`if name like '%-odd' then perform pg_sleep(3600); end if`)
    await until(async () => {
      const puts = freshNames(8).map((name, place) => putOf(place === 3 ? `${name}-odd` : name))
      const told = await send(puts)
      expect(doneOf(told).every((place) => place < 3)).toBe(true)
      return doneOf(told).length === 3 && told.slowest === 3
    }, 'what came before it is done')
  })

  it('that waits for what somebody else has locked does not hold up the others', async () => {
    const [name = ''] = freshNames(1)
    await test.admin.begin(async (holder) => {
      await holder`insert into storage.objects (bucket_id, name) values ('users', ${`${name}-locked`})`
      await until(async () => {
        const puts = freshNames(8).map((fresh, place) => putOf(place === 3 ? `${name}-locked` : fresh))
        const told = await send(puts)
        return doneOf(told).join() === '0,1,2' && told.slowest === 3
      }, 'what came before it is done')
    })
  })
})

describe('a group', () => {
  it('is not slow for failing', async () => {
    await policy('return false')
    await until(async () => {
      const told = await send(freshNames(8).map((name) => putOf(name)))
      expect(doneOf(told)).toEqual([])
      return told.slowest === null
    }, 'none of it is said to be slow')
  })

  it.each([
    [
      'a trigger of users',
      'create trigger rule before insert on storage.objects for each row execute function public.rule()',
    ],
    [
      'a trigger of users that waits for the end',
      `create constraint trigger rule after update on storage.objects deferrable initially deferred for each row
        execute function public.rule()`,
    ],
    [
      'a reference that waits for the end',
      `create table public.rule (id uuid primary key);
       alter table storage.objects add constraint rule foreign key (owner) references public.rule deferrable not valid`,
    ],
  ])('is none beside %s', async (_, sql) => {
    await test.admin.unsafe(`
      create function public.rule() returns trigger language plpgsql as $$ begin return new; end $$; ${sql}`)
    const told = await send(freshNames(8).map((name) => putOf(name)))
    await test.admin.unsafe('drop table if exists public.rule cascade')
    expect(told).toEqual({ outcomes: Array(8).fill(null), slowest: null })
  })

  it('is one beside a trigger that is off, and beside one of deletes, and beside the one that Supabase has made', async () => {
    await test.admin.unsafe(`
      create function public.rule() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger rule before insert on storage.objects for each row execute function public.rule();
      alter table storage.objects disable trigger rule;
      create trigger rule_of_deletes before delete on storage.objects for each row execute function public.rule();
      create function storage.update_updated_at_column() returns trigger language plpgsql as $$ begin return new; end $$;
      create trigger update_objects_updated_at before update on storage.objects
        for each row execute function storage.update_updated_at_column()`)
    await sendUntil((names) => names.map((name) => putOf(name)), ALL)
    await test.admin.unsafe('drop function storage.update_updated_at_column cascade')
  })
})
