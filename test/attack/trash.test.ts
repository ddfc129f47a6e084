import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openEvents } from '../support/event-stream.ts'
import { withPolicies } from '../support/policies.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { besideInnocent } from './support/innocent.ts'
import { isFull } from './support/size.ts'

/*
 * An attacker asks for the trash of others: all of it, many things at once, by their ids and by made-up ones. He learns nothing by
 * it, changes nothing, and holds up nobody.
 */

/** In the victim's trash; and so many are asked for at once. */
const TRASHED = isFull ? 2000 : 300
const ASKED = isFull ? 1000 : 100

let server: TestServer
let attacker: string
let attackerId: string
/** Of what the victim has deleted. */
let ids: string[]
beforeAll(async () => {
  server = await startTestServer()
  attackerId = randomUUID()
  attacker = await server.token(attackerId)
  await server.createBucket('vault', { trash_days: 7 })
  const rows = await server.admin<{ id: string }[]>`
    insert into storage.objects (bucket_id, name, version, owner_id)
    select 'vault', 'secret/' || i, gen_random_uuid()::text, 'victim' from generate_series(1, ${TRASHED}::integer) i returning id`
  await server.admin`delete from storage.objects where bucket_id = 'vault'`
  ids = rows.slice(0, ASKED).map(({ id }) => id)
})
afterAll(() => server.close())

/** Without what names the request, and what was asked for. */
async function ask(method: string, path: string, body?: object): Promise<unknown> {
  const answer = await server.request(method, `/storage/v1${path}`, {
    token: attacker,
    ...(body && { body }),
  })
  const text = await answer.text()
  return [answer.status, text.replaceAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'an id')]
}

const state = () => server.admin`
  select count(*), min(archived_at), max(archived_at) from storage.object_versions where bucket_id = 'vault'`

it('is of no use to whoever asks for what is another’s', async () => {
  const before = await state()
  const known = ids[0] ?? ''
  for (const [method, path, body] of [
    ['DELETE', '/trash/ID', undefined],
    ['POST', '/trash/restore', { ids: ['ID'] }],
    ['POST', '/trash/restore', { ids: ['ID'], to: 'mine', overwrite: true }],
    ['POST', '/trash/restore', { ids: ['ID', randomUUID()] }],
  ] as const) {
    const asked = (id: string) =>
      ask(
        method,
        path.replace('ID', id),
        body && { ...body, ids: body.ids.map((one) => one.replace('ID', id)) },
      )
    expect(await asked(known)).toEqual(await asked(randomUUID()))
  }
  const named = (bucket: string, path: string) => ask('POST', '/trash/restore', { bucket, path })
  const nothing = await named('nowhere', 'nothing')
  expect([await named('vault', 'secret/1'), await named('vault', 'nothing')]).toEqual([nothing, nothing])
  expect(await ask('POST', '/trash/empty', { bucket: 'vault' })).toEqual(
    await ask('POST', '/trash/empty', { bucket: 'nowhere' }),
  )
  expect(await state()).toEqual(before)
})

it('holds up nobody, however much is asked for', async () => {
  const before = await state()
  const pages = async () => {
    const found: unknown[] = []
    for (let cursor = ''; ; ) {
      const query = new URLSearchParams({ bucket: 'vault', limit: '1000', ...(cursor && { cursor }) })
      const answer = await server.request('GET', `/storage/v1/trash?${query}`, { token: attacker })
      const page = (await answer.json()) as { items?: unknown[]; next?: string | null }
      if (!page.items) return answer.status === 503 ? found : expect.fail(`${answer.status}`)
      found.push(...page.items)
      if (!page.next) return found
      cursor = page.next
    }
  }
  const attack = () =>
    Promise.all([
      ...Array.from({ length: 4 }, pages),
      ask('POST', '/trash/restore', { ids }),
      ask('POST', '/trash/restore', {
        ids: Array.from({ length: ASKED }, () => randomUUID()),
        overwrite: true,
      }),
      ask('POST', '/trash/restore', { ids: Array.from({ length: 1000 }, (_, i) => `${i}\0'; drop table`) }),
      ask('POST', '/trash/restore', { ids: Array.from({ length: 1001 }, () => 'x') }),
      ask('POST', '/trash/restore', { ids: ['x'.repeat(70_000)] }),
      ask('POST', '/trash/restore', { bucket: 'vault', path: 'x'.repeat(10_000) }),
      ask('GET', `/trash?prefix=${'x'.repeat(6000)}`),
      ask('GET', `/trash?prefix=%00`),
      ...Array.from({ length: 20 }, () => ask('POST', '/trash/empty', {})),
    ])
  const { result } = await besideInnocent(server, attack)
  const [found, answers] = [result.slice(0, 4), result.slice(4) as [number, string][]]
  expect(found.flat()).toEqual([])
  expect(answers.map(([status]) => status).slice(0, 8)).toEqual([200, 200, 200, 400, 413, 404, 200, 200])
  const [theirs, nobodys] = answers.map(([, text]) => text)
  expect(theirs).toBe(nobodys)
  expect(theirs).not.toContain('"restored":[{')
  expect(await state()).toEqual(before)
})

/** Whoever has made it may do with it what he wants, but for names below `theirs/`, where the service alone makes any. */
const OWN = `
  create policy seen on storage.objects for select to authenticated using (owner_id = auth.jwt() ->> 'sub');
  create policy made on storage.objects for insert to authenticated
    with check (owner_id = auth.jwt() ->> 'sub' and name not like 'theirs/%');
  create policy changed on storage.objects for update to authenticated using (owner_id = auth.jwt() ->> 'sub' or name like 'common/%');
  create policy gone on storage.objects for delete to authenticated using (owner_id = auth.jwt() ->> 'sub')`

async function done(method: string, path: string, body?: object | string, token?: string): Promise<string> {
  const answer = await server.request(method, `/storage/v1${path}`, {
    ...(token && { token }),
    ...(body !== undefined && { body }),
  })
  const text = await answer.text()
  expect(answer.ok, `${method} ${path}: ${text}`).toBe(true)
  return text
}

async function newBucket(settings: object): Promise<string> {
  const bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { ...settings })
  return bucket
}

describe('what he may not see', () => {
  it('has no name in a cursor, and no cursor is of his own making', async () => {
    const bucket = await newBucket({ trash_days: 7 })
    // More than a page looks at.
    await server.admin`
      insert into storage.object_versions (kind, bucket_id, name, object_id, version, bytes_bucket, version_number, is_versioned,
        owner_id, valid_from, archived_at, object_row)
      select 'trash', b.id, 'hidden/' || i, gen_random_uuid(), gen_random_uuid()::text, b.uid, 1, false, 'victim', now(), now(), '{}'
      from storage.buckets b, generate_series(1, 10001) i where b.id = ${bucket}`
    const list = async (query: object) => {
      const search = new URLSearchParams({ bucket, ...query })
      const answer = await server.request('GET', `/storage/v1/trash?${search}`, { token: attacker })
      return { status: answer.status, page: (await answer.json()) as { items: unknown[]; next: string } }
    }
    // So nothing is asked about any of them, and it has looked at all that a page may.
    const { page } = await list({ deleted_by: 'nobody' })
    expect([page.items, typeof page.next]).toEqual([[], 'string'])
    for (const part of page.next.split('.')) {
      for (const text of [part, Buffer.from(part, 'base64url').toString()])
        expect(text).not.toContain('hidden')
    }
    expect((await list({ cursor: page.next })).status).toBe(200)
    const place = Buffer.from(JSON.stringify([bucket, 'hidden/5', '0'])).toString('base64url')
    const changed = `${page.next.slice(0, -2)}${page.next.endsWith('AA') ? 'BB' : 'AA'}`
    for (const cursor of [place, changed]) expect((await list({ cursor })).status).toBe(400)
  })

  it('is not told by where his own may come back to', async () => {
    const bucket = await newBucket({ trash_days: 7 })
    await withPolicies(server.admin, OWN, async () => {
      await done('PUT', `/object/${bucket}/theirs/there`, 'secret')
      await done('PUT', `/object/${bucket}/mine`, 'mine', attacker)
      await done('DELETE', `/object/${bucket}/mine`, undefined, attacker)
      for (const overwrite of [false, true]) {
        const restore = (to: string) => ask('POST', '/trash/restore', { bucket, path: 'mine', to, overwrite })
        expect(await restore('theirs/there')).toEqual(await restore('theirs/not-there'))
      }
      const read = await server.request('GET', `/storage/v1/object/${bucket}/theirs/there`)
      expect(await read.text()).toBe('secret')
    })
  })

  it('takes as much work as what is not there', async () => {
    const bucket = await newBucket({ trash_days: 7 })
    await done('PUT', `/object/${bucket}/hidden`, 'secret')
    await done('DELETE', `/object/${bucket}/hidden`)
    // Rows that are put back only to be asked about are taken back again; what counts them is not.
    await server.admin.unsafe(`
      create sequence storage.asked;
      grant usage on storage.asked to public;
      create function storage.count_asked() returns trigger language plpgsql as
        $$ begin perform nextval('storage.asked'); return new; end $$;
      create trigger count_asked before insert on storage.objects for each row execute function storage.count_asked()`)
    const work = async (path: string) => {
      const asked = async () =>
        Number((await server.admin`select last_value from storage.asked`)[0]?.last_value)
      const before = await asked()
      expect(await ask('POST', '/trash/restore', { bucket, path })).toMatchObject([404, expect.any(String)])
      return (await asked()) - before
    }
    try {
      await server.admin`select nextval('storage.asked')`
      const hidden = await work('hidden')
      expect([hidden > 0, await work('not there')]).toEqual([true, hidden])
    } finally {
      await server.admin.unsafe(`
        drop trigger count_asked on storage.objects;
        drop function storage.count_asked();
        drop sequence storage.asked`)
    }
  })

  it('is not told by events, whatever becomes of it', async () => {
    const bucket = await newBucket({ versioning_status: 'ENABLED', policy: 'private' })
    const withTrash = await newBucket({ trash_days: 7 })
    const open = await newBucket({ policy: 'authenticated' })
    const reader = await openEvents(server, { token: attacker })
    try {
      for (const body of ['one', 'two']) await done('PUT', `/object/${bucket}/a`, body)
      await done('DELETE', `/object/${bucket}/a`)
      await done('PUT', `/object/${bucket}/a`, 'three')
      await done('DELETE', `/object/${bucket}/a?permanent=true`)
      for (const name of ['a', 'b']) {
        await done('PUT', `/object/${withTrash}/${name}`, 'one')
        await done('DELETE', `/object/${withTrash}/${name}`)
      }
      await done('POST', '/trash/restore', { bucket: withTrash, path: 'a' })
      await done('POST', '/trash/empty', { bucket: withTrash })
      await done('PUT', `/object/${open}/mark`, 'mark')
      await until(() => reader.events().some(({ path }) => path === 'mark'), 'the mark is heard')
      expect(new Set(reader.events().map((event) => event.bucket))).toEqual(new Set([open]))
    } finally {
      reader.close()
    }
  })
})

describe('permanent=true, of a name that another has had', () => {
  const everything = (bucket: string) => server.admin<{ kind: string; owner_id: string }[]>`
    select kind, owner_id from storage.object_versions where bucket_id = ${bucket} order by sequence`

  it('deletes what he has made of it, and nothing of the other’s', async () => {
    const bucket = await newBucket({ versioning_status: 'ENABLED' })
    const victim = await server.token('victim')
    await withPolicies(server.admin, OWN, async () => {
      for (const name of ['a', 'common/a']) await done('PUT', `/object/${bucket}/${name}`, 'secret', victim)
      await done('DELETE', `/object/${bucket}/a`, undefined, victim)
      const before = await everything(bucket)
      expect(before.map(({ kind }) => kind)).toEqual(['version', 'delete_marker'])
      // One takes the name; of the other he may replace what is there.
      for (const body of ['mine', 'mine, too']) await done('PUT', `/object/${bucket}/a`, body, attacker)
      await done('DELETE', `/object/${bucket}/a?permanent=true`, undefined, attacker)
      expect(await everything(bucket)).toEqual(before)

      await server.admin`
        update storage.objects set version = gen_random_uuid()::text, owner_id = ${attackerId}
        where bucket_id = ${bucket} and name = 'common/a'`
      await done('DELETE', `/object/${bucket}`, { prefixes: ['common/a'], permanent: true }, attacker)
      const left = await server.admin`
        select kind, owner_id from storage.object_versions where bucket_id = ${bucket} and name = 'common/a' order by sequence`
      expect(left).toMatchObject([{ kind: 'version', owner_id: 'victim' }, { kind: 'delete_marker' }])
      expect((await server.request('GET', `/storage/v1/object/${bucket}/common/a`)).status).toBe(404)
      // Who has made all of it has nothing left, nor has anybody after the service.
      for (const body of ['one', 'two']) await done('PUT', `/object/${bucket}/own`, body, attacker)
      await done('DELETE', `/object/${bucket}/own`, undefined, attacker)
      await done('PUT', `/object/${bucket}/own`, 'three', attacker)
      await done('DELETE', `/object/${bucket}/own?permanent=true`, undefined, attacker)
      await done('PUT', `/object/${bucket}/a`, 'by the service')
      await done('DELETE', `/object/${bucket}/a?permanent=true`)
      const names = await server.admin`
        select distinct name from storage.object_versions where bucket_id = ${bucket}`
      expect(names).toEqual([{ name: 'common/a' }])
    })
  })
})
