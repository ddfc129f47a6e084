import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type S3TestServer, startS3Server } from '../support/s3-protocol.ts'
import { signRequest } from '../support/s3-signer.ts'
import { besideInnocent } from './support/innocent.ts'

let server: S3TestServer
let token: string
let policy: string
beforeAll(async () => {
  server = await startS3Server()
  await server.createBucket('his')
  await server.createBucket('mine')
  await server.admin`update storage.buckets set owner_id = 'mallory' where id = 'mine'`
  await server.admin`
    insert into storage.objects (bucket_id, name, metadata)
    select 'mine', 'o' || n, '{"size": 1, "mimetype": "text/plain"}' from generate_series(1, 3000) n`
  token = await server.token('mallory')
  const made = await server.request('POST', '/storage/v1/lifecycle', {
    body: { name: 'his', bucket: 'his', rules: RULES },
  })
  policy = ((await made.json()) as { id: string }).id
})
afterAll(() => server.close())

const MIB = 1024 * 1024
const RULES = [{ id: 'kept', action: 'delete', after_days: 1 }]

async function send(method: string, path: string, body?: string | object): Promise<number> {
  const headers = typeof body === 'string' ? { 'content-type': 'application/json' } : {}
  const answer = await server.request(method, `/storage/v1${path}`, { token, headers, ...(body && { body }) })
  await answer.arrayBuffer()
  return answer.status
}

/** The statuses of a few of each, all at once. */
const several = (attack: () => Promise<number>) => Promise.all(Array.from({ length: 4 }, attack))

describe('who has signed in', () => {
  it("gets at no policy of another's bucket, nor at all buckets, beside innocent clients", async () => {
    const { result } = await besideInnocent(server, () =>
      Promise.all([
        several(() => send('GET', `/lifecycle/${policy}`)),
        several(() => send('PUT', `/lifecycle/${policy}`, { bucket: 'mine', rules: RULES })),
        several(() => send('DELETE', `/lifecycle/${policy}`)),
        several(() => send('POST', `/lifecycle/${policy}/run`)),
        several(() => send('POST', '/lifecycle', { name: 'all', rules: RULES })),
        several(() => send('PUT', '/bucket/his/lifecycle', { rules: [] })),
        several(() => send('DELETE', '/bucket/his/lifecycle')),
      ]),
    )
    expect(result.map((statuses) => [...new Set(statuses)])).toEqual([
      [404],
      [404],
      [404],
      [404],
      [403],
      [400],
      [404],
    ])
    expect(await server.admin`select rule_id from storage.policy_rules where policy_id = ${policy}`).toEqual([
      { rule_id: 'kept' },
    ])
  })

  it('costs others little by policies that are as large and as dear as they can be', async () => {
    const filter = {
      tags: Array.from({ length: 10 }, (_, n) => `${n}${'t'.repeat(300)}`),
      content_type: 'text/*',
    }
    const rules = Array.from({ length: 100 }, (_, n) => ({
      id: `r${n}`,
      action: 'delete',
      after_days: 0,
      filter: { ...filter, prefix: `o${n}` },
    }))
    const { result } = await besideInnocent(server, async () => {
      const made = await server.request('POST', '/storage/v1/lifecycle', {
        token,
        body: { name: 'dear', bucket: 'mine', rules },
      })
      expect(made.status).toBe(201)
      const { id } = (await made.json()) as { id: string }
      return [
        ...(await several(() => send('POST', `/lifecycle/${id}/run?dry_run=true`))),
        ...(await several(() => send('GET', `/lifecycle/${id}`))),
        await send('DELETE', `/lifecycle/${id}`),
      ]
    })
    expect([...new Set(result)]).toEqual([200, 204])
  })

  const document = (inner: string) => `<LifecycleConfiguration>${inner}</LifecycleConfiguration>`

  it.each([
    ['nested without an end', document('<Rule>'.repeat(300_000)), 400],
    ['of too many rules', document('<Rule/>'.repeat(250_000)), 400],
    ['of one endless prefix', document(`<Rule><Prefix>${'p'.repeat(1_900_000)}</Prefix></Rule>`), 400],
    ['too long', document('<Rule/>'.repeat(500_000)), 413],
  ])('is refused XML that is %s', async (_, body, status) => {
    const keys = await server.session('mallory')
    const url = `${server.endpoint}/mine?lifecycle`
    const put = async () => {
      const headers = signRequest({ method: 'PUT', url, body }, keys)
      const answer = await fetch(url, { method: 'PUT', headers, body })
      await answer.arrayBuffer()
      return answer.status
    }
    const { result } = await besideInnocent(server, () => several(put))
    expect([...new Set(result)]).toEqual([status])
  })

  it.each([
    ['nested without an end', '['.repeat(2 * MIB - 1), 400],
    ['of too many rules', JSON.stringify({ rules: Array(20_000).fill(0) }), 400],
    ['too long', JSON.stringify({ name: 'x'.repeat(3 * MIB) }), 413],
  ])('is refused JSON that is %s', async (_, json, status) => {
    const { result } = await besideInnocent(server, () =>
      Promise.all([
        several(() => send('POST', '/lifecycle', json)),
        several(() => send('PUT', '/bucket/mine/lifecycle', json)),
      ]),
    )
    expect([...new Set(result.flat())]).toEqual([status])
  })
})
