import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { dropPolicies } from '../../support/policies.ts'
import { type Mishap, openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift } from '../../support/traces.ts'
import { PATIENCE_MS, until } from '../../support/wait.ts'

/* Small uploads that are sent to the database together (decision 0056): nobody notices, but for the time they take. */

/** With connections for groups. */
const env = { STORAGE_DATABASE_SPARE: '2' }

let proxy: PostgresProxy
let server: TestServer
let bucket: string
let users: User[]

interface User {
  id: string
  token: string
}

async function open(): Promise<void> {
  server = await startTestServer(env, { databaseUrl: (name) => proxy.url(name) })
  await server.admin.unsafe(`
    create sequence public.asked;
    grant all on public.asked to authenticated`)
  const ids = Array.from({ length: 12 }, () => randomUUID())
  users = await Promise.all(ids.map(async (id) => ({ id, token: await server.token(id) })))
}

beforeAll(async () => {
  proxy = await openPostgresProxy()
  await open()
})
afterAll(async () => {
  await server.close()
  await proxy.close()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { policy: 'authenticated' })
})
afterEach(async () => {
  proxy.decide = undefined
  await dropPolicies(server.admin)
  await server.admin.unsafe('drop function if exists public.rule cascade')
})

interface Answer {
  name: string
  status: number
  body: string
}

async function upload(name: string, user: User, { body = name, upsert = false } = {}): Promise<Answer> {
  const headers = { 'content-type': 'text/plain', ...(upsert && { 'x-upsert': 'true' }) }
  const response = await server.request('POST', `/object/${bucket}/${name}`, {
    token: user.token,
    headers,
    body,
  })
  return { name, status: response.status, body: await response.text() }
}

/** Lets each user be known as one who may upload here. */
async function known(): Promise<void> {
  const answers = await Promise.all(users.map((user) => upload(`known-${user.id}`, user)))
  expect(answers.filter((answer) => !isOk(answer))).toEqual([])
}

const isOk = ({ status }: Answer) => status === 200 || status === 201

/** Fewer than connections for writes, of ten. */
const NEIGHBOURS = 6

let rounds = 0

/** What each of the users uploads at one moment, several times. */
const crowd = (each = 3) => {
  const round = ++rounds
  return users.flatMap((user, at) =>
    Array.from({ length: each }, (_, count) => ({ name: `m-${round}-${at}-${count}`, user })),
  )
}

const uploadAll = (given: { name: string; user: User }[]) =>
  Promise.all(given.map(({ name, user }) => upload(name, user)))

/** How many of the bucket's uploads each transaction has made. */
async function sizes(): Promise<number[]> {
  const rows = await server.admin<{ count: number }[]>`
    select count(*)::int as count from storage.events
    where bucket_id = ${bucket} and name is not null group by transaction`
  return rows.map(({ count }) => count)
}

/** Repeats it until it has come about in a group. */
async function inGroups(work: () => Promise<unknown>, isDone: () => Promise<boolean>, what: string) {
  await known()
  await until(async () => {
    await work()
    return isDone()
  }, what)
}

const isShared = async () => (await sizes()).some((size) => size >= 4)

/** A policy of users': who may insert, by a function of the row's name. */
async function policy(body: string): Promise<void> {
  await server.admin.unsafe(`
    create or replace function public.rule(name text) returns boolean volatile language plpgsql as $$ begin ${body} end $$;
    create policy "rule" on storage.objects as restrictive for insert to authenticated
      with check (bucket_id <> '${bucket}' or public.rule(name))`)
}

describe('small uploads that come at one moment', () => {
  it('share transactions, and each is there, whole and its own', async () => {
    const sent: { name: string; user: User }[] = []
    const more = async () => {
      const given = crowd()
      expect((await uploadAll(given)).filter((answer) => !isOk(answer))).toEqual([])
      sent.push(...given)
    }
    await inGroups(more, isShared, 'some are in one transaction')
    const rows = await server.admin`
      select o.name, o.owner_id, convert_from(i.bytes, 'utf8') as bytes
      from storage.objects o join storage.inline_bytes i on i.version::text = o.version
      where o.bucket_id = ${bucket} and o.name like 'm-%' order by o.name collate "C"`
    const expected = sent.map(({ name, user }) => ({ name, owner_id: user.id, bytes: name }))
    expect([...rows]).toEqual(expected.sort((a, b) => (a.name < b.name ? -1 : 1)))
    await expectNoDrift(server)
  })

  it('go one by one when each comes alone, and when its caller is a stranger', async () => {
    const [user] = users as [User]
    await known()
    proxy.arm(0)
    for (const name of ['one', 'two', 'three', 'four']) expect(isOk(await upload(name, user))).toBe(true)
    const strangers = await Promise.all(Array.from({ length: 30 }, () => server.token(randomUUID())))
    await uploadAll(strangers.map((token, at) => ({ name: `s-${at}`, user: { id: '', token } })))
    expect(
      proxy.roundTrips.filter((about) => /put_object_version/.test(about)).length,
    ).toBeGreaterThanOrEqual(34)
    expect(proxy.roundTrips.filter((about) => /put_objects/.test(about))).toEqual([])
  })

  it('of one name come one after the other', async () => {
    const over = async () => {
      const [user] = users as [User]
      const answers = await Promise.all(users.map(() => upload('same', user, { upsert: true })))
      expect(answers.filter((answer) => !isOk(answer))).toEqual([])
      await uploadAll(crowd())
    }
    await inGroups(over, isShared, 'some are in one transaction')
    const together = await server.admin`
      select transaction from storage.events where bucket_id = ${bucket} and name = 'same'
      group by transaction having count(*) > 1`
    expect([...together]).toEqual([])
    await expectNoDrift(server)
  })

  it('remove the files that they replace', async () => {
    const over = async () => {
      const given = crowd(1)
      const larger = await Promise.all(
        given.map(({ name, user }) => upload(name, user, { body: 'x'.repeat(20_000) })),
      )
      const smaller = await Promise.all(given.map(({ name, user }) => upload(name, user, { upsert: true })))
      expect([...larger, ...smaller].filter((answer) => !isOk(answer))).toEqual([])
    }
    const isOverShared = async () => {
      const rows = await server.admin`
        select from storage.events where bucket_id = ${bucket} and type = 'storage.object.updated'
        group by transaction having count(*) >= 3`
      return rows.length > 0
    }
    await inGroups(over, isOverShared, 'some replace files in one transaction')
    expect([...(await server.admin`select from storage.removals`)]).toEqual([])
    await expectNoDrift(server)
  })

  it('are judged by the settings that the bucket has by now', async () => {
    await inGroups(() => uploadAll(crowd()), isShared, 'some are in one transaction')
    await server.admin`update storage.buckets set file_size_limit = 2 where id = ${bucket}`
    const answers = await uploadAll(crowd())
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([413]))
  })
})

const nothing: () => Promise<unknown> = async () => {}

describe('one upload among others', () => {
  let own: User
  beforeEach(async () => {
    const id = randomUUID()
    own = { id, token: await server.token(id) }
  })

  /** How often the policy has judged it. */
  const asked = async () => {
    const [row] = await server.admin<[{ count: number }]>`select last_value::int as count from public.asked`
    return row.count
  }

  /**
   * Sends `odd` among others, again and again until it was in a group, which had to leave it out: it is judged twice then.
   *
   * @param hold lets it wait
   * @param release lets it go on, once the others have their answers
   */
  async function amongOthers(
    odd: string,
    { hold = nothing, release = nothing } = {},
  ): Promise<number | undefined> {
    let status: number | undefined
    await known()
    await until(async () => {
      await upload(`n-${++rounds}`, own) // or nobody would send him with others, after his last failure
      const before = await asked()
      await hold()
      // No more than connections of the pool: the driver would put some behind it, should it not be in a group.
      const neighbours = uploadAll(crowd(1).slice(0, NEIGHBOURS))
      const answer = upload(odd, own)
      expect((await neighbours).filter((one) => !isOk(one))).toEqual([])
      await release() // who is not left alone by it waits for ever
      const answered = (await answer).status
      const isRepeated = (await asked()) - before >= 2
      if (isRepeated) status = answered
      return isRepeated
    }, 'it was in a group')
    await expectNoDrift(server)
    return status
  }

  it('is denied, and they are not', async () => {
    await policy(`if name = 'a' then perform nextval('public.asked'); return false; end if; return true;`)
    expect(await amongOthers('a')).toBe(403)
    const there = await server.admin`select from storage.objects where bucket_id = ${bucket} and name = 'a'`
    expect(there.length).toBe(0)
  })

  it('has a name that is taken, and they have not', async () => {
    await policy(`if name = 'a' then perform nextval('public.asked'); end if; return true;`)
    await server.request('POST', `/object/${bucket}/a`, { body: 'there' })
    expect(await amongOthers('a')).toBe(409)
  })

  it('waits in a policy, and they are answered before it', async () => {
    await policy(`
      if name = 'a' then
        perform nextval('public.asked');
        perform pg_advisory_xact_lock(18);
        return false;
      end if;
      return true;`)
    const holder = await server.admin.reserve()
    const hold = () => holder`select pg_advisory_lock(18)`
    const release = () => holder`select pg_advisory_unlock(18)`
    expect(await amongOthers('a', { hold, release })).toBe(403)
    holder.release()
  })

  it('waits for a row that somebody else has locked, and they are answered before it', async () => {
    await policy(`if name = 'a' then perform nextval('public.asked'); end if; return true;`)
    const holder = await server.admin.reserve()
    const hold = async () => {
      await server.request('DELETE', `/object/${bucket}/a`)
      await holder`begin`
      await holder`insert into storage.objects (bucket_id, name) values (${bucket}, 'a')`
    }
    const release = () => holder`rollback`
    expect(await amongOthers('a', { hold, release })).toBe(201)
    holder.release()
  })
})

describe('a group', () => {
  it('is none where a trigger of users may count on a transaction of its own', async () => {
    await server.admin.unsafe(`
      create function public.rule() returns trigger language plpgsql as $$ begin return new; end $$;
      create trigger rule before insert on storage.objects for each row execute function public.rule()`)
    await known()
    proxy.arm(0)
    await until(async () => {
      expect((await uploadAll(crowd())).filter((answer) => !isOk(answer))).toEqual([])
      return proxy.roundTrips.some((about) => /put_objects/.test(about))
    }, 'a group was tried')
    expect(new Set(await sizes())).toEqual(new Set([1]))
  })

  it.each<[string, Mishap, number]>([
    ['lost before PostgreSQL saw it', { kind: 'before' }, 503],
    ['lost with its answer', { kind: 'after' }, 503],
    ['ended by its time', { kind: 'error', sqlState: '57014' }, 201],
  ])(
    'that is %s is answered as each alone would be',
    { timeout: PATIENCE_MS * 2 },
    async (_, mishap, status) => {
      // A new one, where groups have not failed yet, and rest for it.
      await server.close()
      await open()
      await server.createBucket(bucket, { policy: 'authenticated' })
      await inGroups(() => uploadAll(crowd()), isShared, 'some are in one transaction')
      let answers: Answer[] = []
      let there = new Set<string>()
      const unanswered = () => answers.filter((answer) => !isOk(answer))
      await until(async () => {
        let hasStruck = false
        proxy.decide = (about) => {
          if (!/put_objects/.test(about)) return undefined
          hasStruck = true
          return mishap
        }
        answers = await uploadAll(crowd())
        proxy.decide = undefined
        const rows = await server.admin`select name from storage.objects where bucket_id = ${bucket}`
        there = new Set(rows.map(({ name }) => name))
        // A statement that is new to its connection is lost before it has done anything.
        return hasStruck && (mishap.kind !== 'after' || unanswered().some(({ name }) => there.has(name)))
      }, 'a group has had the mishap')
      const statuses = new Set(unanswered().map((answer) => answer.status))
      expect(statuses).toEqual(new Set(status === 201 ? [] : [status]))
      for (const { name } of answers.filter(isOk)) expect(there).toContain(name)
      if (mishap.kind === 'before') expect(unanswered().filter(({ name }) => there.has(name))).toEqual([])
      await expectNoDrift(server)
    },
  )
})
