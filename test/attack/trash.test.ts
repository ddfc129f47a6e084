import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'
import { besideInnocent } from './support/innocent.ts'

/*
 * An attacker asks for the trash of others: all of it, a thousand things at once, by their ids and by made-up ones. He learns nothing by
 * it, changes nothing, and holds up nobody.
 */

let server: TestServer
let attacker: string
/** Of what the victim has deleted. */
let ids: string[]
beforeAll(async () => {
  server = await startTestServer()
  attacker = await server.token(randomUUID())
  await server.createBucket('vault', { trash_days: 7 })
  const rows = await server.admin<{ id: string }[]>`
    insert into storage.objects (bucket_id, name, version, owner_id)
    select 'vault', 'secret/' || i, gen_random_uuid()::text, 'victim' from generate_series(1, 2000) i returning id`
  await server.admin`delete from storage.objects where bucket_id = 'vault'`
  ids = rows.slice(0, 1000).map(({ id }) => id)
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
        ids: Array.from({ length: 1000 }, () => randomUUID()),
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
