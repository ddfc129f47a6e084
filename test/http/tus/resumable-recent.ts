import { afterAll, beforeAll, expect, it } from 'vitest'
import { seededBytes } from '../../support/seeded-bytes.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift } from '../../support/traces.ts'
import { expectStored, MiB, notedOffset } from '../../support/tus.ts'
import { answerOf, TusRequests } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'

/** More than two of the smallest parts of a store. */
const BYTES = Uint8Array.from(seededBytes('recent chunks', 12 * MiB))
/** So many have come, and are to stay. */
const START = 1000

/** Whoever wants the policies to wait has it. */
const LOCK = 4712

/** Policies that wait, and then allow or deny as the gate says at that moment. */
const GATE = `
  create table public.gate (is_open boolean not null);
  insert into public.gate values (true);
  create function public.passes() returns boolean language plpgsql volatile security definer as $$
    begin
      perform pg_advisory_xact_lock_shared(${LOCK});
      return (select is_open from public.gate);
    end $$;
  create policy "seen" on storage.objects for select to authenticated using (true);
  create policy "gate" on storage.objects for insert to authenticated with check (public.passes());`

/**
 * What becomes of a chunk while the policies are asked.
 *
 * @param written how much of uploads that are not finished is stored, in whatever unit
 */
export function testRecentChunks(
  env: () => Promise<Record<string, string>>,
  written: (server: TestServer) => Promise<number>,
): void {
  let server: TestServer
  let tus: TusRequests
  beforeAll(async () => {
    server = await startTestServer(await env())
    tus = new TusRequests(server, { token: await server.token('ann') })
    await server.createBucket('box')
    await server.admin.unsafe(GATE)
  })
  afterAll(() => server?.close())

  /** Begins an upload, and sends its first bytes, in two chunks: behind the second the server keeps its turn. Returns its URL. */
  async function begin(name: string): Promise<string> {
    const url = await tus.begin(name, BYTES.length)
    expect((await tus.patch(url, 0, BYTES.subarray(0, 400))).status).toBe(204)
    expect((await tus.patch(url, 400, BYTES.subarray(400, START))).status).toBe(204)
    return url
  }

  /** Sends the rest, and runs `meanwhile` while the policies wait; they deny it if the gate is to close. */
  async function sendRest(
    to: TusRequests,
    url: string,
    { closes }: { closes: boolean },
    meanwhile: () => Promise<void>,
  ): Promise<Response> {
    const holder = await server.admin.reserve()
    try {
      await holder`select pg_advisory_lock(${LOCK})`
      const sending = to.patch(url, START, BYTES.subarray(START))
      await until(async () => (await askingAndHolding())[0] > 0, 'the policies are asked')
      await meanwhile()
      if (closes) await holder`update public.gate set is_open = false`
      await holder`select pg_advisory_unlock(${LOCK})`
      return await sending
    } finally {
      await holder`select pg_advisory_unlock_all()`
      holder.release()
      await server.admin`update public.gate set is_open = true`
    }
  }

  /** How many ask the policies now, and how many requests have an upload. */
  async function askingAndHolding(): Promise<[asking: number, holding: number]> {
    const [row] = await server.admin`select
      (select count(*)::int from pg_locks where locktype = 'advisory' and not granted) as asking,
      (select count(*)::int from strongroom.turns where name like 'upload %') as holding`
    return [row?.asking, row?.holding]
  }

  const turnsAreBack = () => until(async () => (await askingAndHolding())[1] === 0, 'turns are given back')

  async function expectFinished(name: string, url: string): Promise<void> {
    expect((await tus.patch(url, START, BYTES.subarray(START))).status).toBe(204)
    await expectStored(server, { bucket: 'box', name }, Buffer.from(BYTES))
    await expectNoDrift(server)
  }

  it('is written for whoever was allowed to a moment ago, and told once it is allowed again', async () => {
    const url = await begin('allowed.bin')
    const before = await written(server)
    const sent = await sendRest(tus, url, { closes: false }, async () => {
      await until(async () => (await written(server)) > before, 'it is written')
      expect(await notedOffset(server, 'allowed.bin')).toBe(START)
    })
    expect([sent.status, sent.headers.get('upload-offset')]).toEqual([204, String(BYTES.length)])
    await expectNoDrift(server)
  })

  it('leaves nothing when it is denied after that, and gives the turn back', async () => {
    const url = await begin('denied.bin')
    const before = await written(server)
    const sent = await sendRest(tus, url, { closes: true }, () =>
      until(async () => (await written(server)) > before, 'it is written'),
    )
    expect(await answerOf(sent)).toEqual([403, 'new row violates row-level security policy'])
    expect([await written(server), await notedOffset(server, 'denied.bin')]).toEqual([before, START])
    await turnsAreBack()
    await expectFinished('denied.bin', url)
  })

  it('is not written before the answer for whoever was denied last', async () => {
    const url = await begin('strange.bin')
    await server.admin`update public.gate set is_open = false`
    expect((await tus.patch(url, START, BYTES.subarray(START))).status).toBe(403)
    await server.admin`update public.gate set is_open = true`
    await turnsAreBack()
    const before = await written(server)
    const sent = await sendRest(tus, url, { closes: true }, async () => {
      expect([await written(server), (await askingAndHolding())[1]]).toEqual([before, 0])
    })
    expect(sent.status).toBe(403)
    expect(await written(server)).toBe(before)
    await expectFinished('strange.bin', url)
  })

  it('is nothing to the request of another, of which a stranger knows the URL', async () => {
    const url = await begin('theirs.bin')
    const stranger = new TusRequests(server, { token: await server.token('eve') })
    const before = await written(server)
    const sent = await sendRest(tus, url, { closes: false }, async () => {
      await until(async () => (await written(server)) > before, "the owner's is written")
      expect((await stranger.patch(url, START, BYTES.subarray(START))).status).toBe(403)
    })
    expect(sent.status).toBe(204)
    await expectNoDrift(server)
  })
}
