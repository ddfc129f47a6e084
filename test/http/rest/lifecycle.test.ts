import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

/** Lifecycle policies by REST (docs/versions.md). What they do is in test/jobs/lifecycle.test.ts. */

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})
afterAll(() => server.close())

type Init = Parameters<TestServer['request']>[2]

const ask = (method: string, path: string, init?: Init) => server.request(method, `/storage/v1${path}`, init)

async function json(method: string, path: string, init?: Init): Promise<Record<string, unknown>> {
  const answer = await ask(method, path, init)
  const text = await answer.text()
  expect(answer.ok, text).toBe(true)
  return text === '' ? {} : JSON.parse(text)
}

/** Its status and code. */
async function refused(method: string, path: string, init?: Init): Promise<[number, string, string]> {
  const answer = await ask(method, path, init)
  const { code, message } = (await answer.json()) as { code: string; message: string }
  return [answer.status, code, message]
}

const OLD = { id: 'old', action: 'delete', after_days: 30 }

describe('a policy', () => {
  it('is told as it was made, with what it did not say', async () => {
    const filter = { prefix: 'logs/', tags: ['tmp'], content_type: 'text/*', min_size: 1, max_size: 1000 }
    const rules = [
      { ...OLD, based_on: 'updated_at', filter },
      { action: 'purge_trash', after_days: 0 },
    ]
    const made = await json('POST', '/lifecycle', { body: { name: 'tidy', bucket, rules } })
    expect(made).toEqual({
      id: expect.any(String),
      name: 'tidy',
      bucket,
      enabled: true,
      priority: 100,
      created_at: expect.any(String),
      updated_at: expect.any(String),
      rules: [
        {
          id: 'old',
          enabled: true,
          action: 'delete',
          after_days: 30,
          date: null,
          based_on: 'updated_at',
          keep_versions: 0,
          filter,
        },
        {
          id: expect.stringMatching(/^rule-[0-9a-f]{64}$/),
          enabled: true,
          action: 'purge_trash',
          after_days: 0,
          date: null,
          based_on: 'archived_at',
          keep_versions: 0,
          filter: { prefix: '', tags: [], content_type: null, min_size: null, max_size: null },
        },
      ],
    })
    expect(await json('GET', `/lifecycle/${made.id}`)).toEqual(made)
    const { rules: _, ...listed } = made
    expect(await json('GET', `/lifecycle?bucket=${bucket}`)).toEqual({
      items: [{ ...listed, rule_count: 2 }],
      next: null,
    })
  })

  it('is changed by what is given, and deleted', async () => {
    const made = await json('POST', '/lifecycle', { body: { name: 'tidy', bucket, rules: [OLD] } })
    const changed = await json('PUT', `/lifecycle/${made.id}`, { body: { enabled: false, priority: 7 } })
    expect(changed).toEqual({
      ...made,
      enabled: false,
      priority: 7,
      updated_at: expect.any(String),
    })
    const rules = [{ id: 'new', action: 'abort_uploads', after_days: 1 }]
    expect(await json('PUT', `/lifecycle/${made.id}`, { body: { rules } })).toMatchObject({
      enabled: false,
      rules: [{ id: 'new', based_on: 'created_at' }],
    })
    await json('DELETE', `/lifecycle/${made.id}`)
    expect(await refused('GET', `/lifecycle/${made.id}`)).toEqual([
      404,
      'NoSuchLifecyclePolicy',
      'There is no such lifecycle policy',
    ])
  })

  it('is one at the most of a bucket, and goes with it', async () => {
    const body = { name: 'one', bucket, rules: [OLD] }
    const made = await json('POST', '/lifecycle', { body })
    expect((await refused('POST', '/lifecycle', { body })).slice(0, 2)).toEqual([
      409,
      'ResourceAlreadyExists',
    ])
    await json('DELETE', `/bucket/${bucket}`)
    expect((await refused('GET', `/lifecycle/${made.id}`))[0]).toBe(404)
    expect(await server.admin`select from storage.policy_rules where policy_id = ${String(made.id)}`).toEqual(
      [],
    )
  })

  it.each<[string, object, string]>([
    ['no rule', { rules: [] }, 'body/rules must hold at least one rule'],
    ['too many', { rules: Array(101).fill(OLD) }, 'body/rules must hold at most 100 rules'],
    [
      'the same twice',
      { rules: [OLD, OLD] },
      'body/rules/1 must not have the id and the action of another one',
    ],
    ['a class', { rules: [{ ...OLD, action: 'set_storage_class' }] }, 'body/rules/0/action must be one of'],
    [
      'its name',
      { rules: [{ ...OLD, storage_class: 'GLACIER' }] },
      'body/rules/0/storage_class is not known here',
    ],
    [
      'an asset',
      { rules: [{ ...OLD, filter: { asset_type: 'x' } }] },
      'body/rules/0/filter/asset_type is not known',
    ],
    [
      'neither days nor a date',
      { rules: [{ action: 'delete' }] },
      'body/rules/0 must have either after_days or date',
    ],
    [
      'a date of versions',
      { rules: [{ action: 'purge_trash', date: '2026-01-01' }] },
      'body/rules/0 must not have a date',
    ],
    [
      'another base',
      { rules: [{ ...OLD, based_on: 'archived_at' }] },
      'body/rules/0 must be based_on created_at or',
    ],
    [
      'days without end',
      { rules: [{ ...OLD, after_days: 36_501 }] },
      'body/rules/0/after_days must be a whole number',
    ],
    ['kept objects', { rules: [{ ...OLD, keep_versions: 1 }] }, 'body/rules/0 must not have keep_versions'],
    [
      'uploads by size',
      { rules: [{ action: 'abort_uploads', after_days: 1, filter: { min_size: 5 } }] },
      'body/rules/0 must not filter by more than a prefix',
    ],
    [
      'no size',
      { rules: [{ ...OLD, filter: { min_size: 5, max_size: 4 } }] },
      'body/rules/0 must not have a min_size',
    ],
    [
      'a NUL',
      { rules: [{ ...OLD, filter: { prefix: 'a\0' } }] },
      'body/rules/0/filter/prefix must not have a NUL',
    ],
    [
      'eleven tags',
      { rules: [{ ...OLD, filter: { tags: Array(11).fill('t') } }] },
      'body/rules/0/filter/tags must be',
    ],
    [
      'a slip',
      { rules: [{ ...OLD, filter: { prefx: 'logs/' } }] },
      'body/rules/0/filter must not have the field prefx',
    ],
  ])('is refused with %s', async (_, more, says) => {
    const [status, code, message] = await refused('POST', '/lifecycle', {
      body: { name: 'bad', bucket, rules: [OLD], ...more },
    })
    expect([status, code, message.slice(0, says.length)]).toEqual([400, 'InvalidRequest', says])
  })
})

describe('who may', () => {
  const owned = async (subject: string) => {
    await server.admin`update storage.buckets set owner_id = ${subject} where id = ${bucket}`
    return server.token(subject)
  }

  it('is who owns the bucket, of that alone', async () => {
    const token = await owned('anna')
    const made = await json('POST', '/lifecycle', { token, body: { name: 'hers', bucket, rules: [OLD] } })
    await json('POST', '/lifecycle', { body: { name: 'of all', rules: [{ ...OLD, id: 'all' }] } })
    expect(await json('GET', '/lifecycle', { token })).toMatchObject({ items: [{ id: made.id }] })
    expect(await json('PUT', `/lifecycle/${made.id}`, { token, body: { name: 'still' } })).toMatchObject({
      name: 'still',
    })
    expect(await json('POST', `/lifecycle/${made.id}/run?dry_run=true`, { token })).toMatchObject({
      complete: true,
    })
    const all = { token, body: { name: 'all', rules: [OLD] } }
    expect((await refused('POST', '/lifecycle', all)).slice(0, 2)).toEqual([403, 'AccessDenied'])
    expect((await refused('PUT', `/lifecycle/${made.id}`, { token, body: { bucket: null } }))[0]).toBe(403)
  })

  it('is nobody else: to him there is no such policy', async () => {
    await owned('anna')
    const made = await json('POST', '/lifecycle', { body: { name: 'hers', bucket, rules: [OLD] } })
    const token = await server.token('mallory')
    for (const [method, path] of [
      ['GET', ''],
      ['PUT', ''],
      ['DELETE', ''],
      ['POST', '/run'],
    ] as const) {
      const init = method === 'PUT' ? { token, body: { enabled: false } } : { token }
      expect((await refused(method, `/lifecycle/${made.id}${path}`, init)).slice(0, 2)).toEqual([
        404,
        'NoSuchLifecyclePolicy',
      ])
    }
    expect(await json('GET', '/lifecycle', { token })).toEqual({ items: [], next: null })
    const body = { name: 'mine', bucket, rules: [OLD] }
    expect((await refused('POST', '/lifecycle', { token, body }))[1]).toBe('NoSuchBucket')
    const seen = 'create policy seen on storage.buckets for select to authenticated using (true)'
    await withPolicies(server.admin, seen, async () => {
      expect((await refused('POST', '/lifecycle', { token, body }))[1]).toBe('AccessDenied')
    })
    const anonymous = await server.token('', 'anon')
    expect((await refused('POST', '/lifecycle', { token: anonymous, body }))[1]).toBe('NoSuchBucket')
    expect(await json('GET', `/lifecycle/${made.id}`)).toEqual(made)
  })

  it('is not who has SQL as a user', async () => {
    await expect(
      server.admin.begin(async (sql) => {
        await sql`set local role authenticated`
        await sql`select from storage.lifecycle_policies`
      }),
    ).rejects.toThrow('permission denied')
  })
})

describe("a bucket's own rules, as Supabase has them", () => {
  const rule = (id: string, more: object = {}) => ({
    id,
    status: 'Enabled',
    filter: {},
    noncurrentVersionExpiration: { noncurrentDays: 30, newerNoncurrentVersions: 2 },
    ...more,
  })
  const path = () => `/bucket/${bucket}/lifecycle`

  it('are replaced, told, and deleted', async () => {
    expect(await refused('GET', path())).toEqual([
      404,
      'NoSuchLifecycleConfiguration',
      'The lifecycle configuration does not exist',
    ])
    const { id: _, ...nameless } = rule('')
    const stored = await json('PUT', path(), { body: { rules: [rule('a'), nameless] } })
    expect(stored).toEqual({
      rules: [rule('a'), rule(expect.stringMatching(/^rule-[0-9a-f]{64}$/) as unknown as string)],
    })
    expect(await json('GET', path())).toEqual(stored)
    const other = {
      rules: [rule('b', { status: 'Disabled', noncurrentVersionExpiration: { noncurrentDays: 1 } })],
    }
    expect(await json('PUT', path(), { body: other })).toEqual(other)
    expect(await json('GET', path())).toEqual(other)
    expect(await json('DELETE', path())).toEqual({ message: 'Successfully deleted' })
    expect(await json('DELETE', path())).toEqual({ message: 'Successfully deleted' })
    expect((await refused('GET', path()))[0]).toBe(404)
    expect(await json('GET', `/lifecycle?bucket=${bucket}`)).toMatchObject({ items: [] })
  })

  it('are those of the policy that REST has, and leave the others alone', async () => {
    await json('PUT', path(), { body: { rules: [rule('a')] } })
    const { items } = await json('GET', `/lifecycle?bucket=${bucket}`)
    const [{ id }] = items as [{ id: string }]
    const own = { id: 'mine', action: 'delete', after_days: 3, filter: { content_type: 'text/*' } }
    const versions = { id: 'v', action: 'delete_old_versions', after_days: 7, keep_versions: 1 }
    await json('PUT', `/lifecycle/${id}`, { body: { rules: [own, versions] } })
    expect(await json('GET', path())).toEqual({
      rules: [rule('v', { noncurrentVersionExpiration: { noncurrentDays: 7, newerNoncurrentVersions: 1 } })],
    })
    expect((await refused('PUT', path(), { body: { rules: [rule('mine')] } }))[1]).toBe('InvalidRequest')
    await json('PUT', path(), { body: { rules: [rule('b')] } })
    const ids = async () => {
      const { rules } = await json('GET', `/lifecycle/${id}`)
      return (rules as { id: string }[]).map((one) => one.id)
    }
    expect(await ids()).toEqual(['b', 'mine'])
    await json('DELETE', path())
    expect(await ids()).toEqual(['mine'])
  })

  it('tell that the policy is not enabled, and bring none of its others back', async () => {
    const rules = [
      { id: 'mine', action: 'delete', after_days: 0 },
      { id: 'v', action: 'delete_old_versions', after_days: 7, keep_versions: 2 },
    ]
    const made = await json('POST', '/lifecycle', { body: { name: 'off', bucket, enabled: false, rules } })
    expect(await json('GET', path())).toMatchObject({ rules: [{ id: 'v', status: 'Disabled' }] })
    await json('PUT', path(), { body: { rules: [rule('v')] } })
    expect(await json('GET', `/lifecycle/${made.id}`)).toMatchObject({
      enabled: true,
      rules: [
        { id: 'v', enabled: true },
        { id: 'mine', enabled: false },
      ],
    })
  })

  it('need SELECT to be read, and UPDATE to be changed', async () => {
    await json('PUT', path(), { body: { rules: [rule('a')] } })
    const token = await server.token('anna')
    const body = { rules: [rule('b')] }
    const all = async () => [
      (await ask('GET', path(), { token })).status,
      (await ask('PUT', path(), { token, body })).status,
      (await ask('DELETE', path(), { token })).status,
    ]
    expect(await all()).toEqual([404, 404, 404])
    const seen = 'create policy seen on storage.buckets for select to authenticated using (true);'
    expect(await withPolicies(server.admin, seen, all)).toEqual([200, 403, 403])
    const kept = await json('GET', path())
    expect(kept).toEqual({ rules: [rule('a')] })
    const changed = `${seen} create policy changed on storage.buckets for update to authenticated using (true)`
    expect(await withPolicies(server.admin, changed, all)).toEqual([200, 200, 200])
  })

  it.each<[string, object, string]>([
    ['no rule', { rules: [] }, 'body/rules must be 1 to 1000 rules'],
    ['too many', { rules: Array(1001).fill(rule('a')) }, 'body/rules must be 1 to 1000 rules'],
    ['one id twice', { rules: [rule('a'), rule('a')] }, 'body/rules/1/id must not come twice'],
    ['a filter', { rules: [rule('a', { filter: { prefix: 'x' } })] }, 'body/rules/0/filter must be {}'],
    [
      'no days',
      { rules: [rule('a', { noncurrentVersionExpiration: {} })] },
      'body/rules/0/noncurrentVersionExp',
    ],
    [
      'zero days',
      { rules: [rule('a', { noncurrentVersionExpiration: { noncurrentDays: 0 } })] },
      'body/rules/0/noncurrentVersionExpiration/noncurrentDays must be a whole number from 1',
    ],
    ['a long id', { rules: [rule('x'.repeat(256))] }, 'body/rules/0/id must have at most 255 characters'],
    [
      'an expiration',
      { rules: [rule('a', { expiration: { days: 1 } })] },
      'body/rules/0 must not have the field exp',
    ],
  ])('are refused with %s', async (_, body, says) => {
    const [status, code, message] = await refused('PUT', path(), { body })
    expect([status, code, message.slice(0, says.length)]).toEqual([400, 'InvalidRequest', says])
  })
})
