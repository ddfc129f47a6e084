import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift, expectNothingWritten } from '../../support/traces.ts'

/** A trigger of the user's own, which raises the SQLSTATE that an object's name ends in. */
const RAISE = `
  create function public.raise_by_name() returns trigger language plpgsql as $$
  declare state text := substring(new.name from 'raise-([0-9A-Z]{5})$');
  begin
    if state is not null then
      raise exception 'the detail of %', new.name using errcode = state;
    end if;
    return new;
  end $$;
  create trigger raise_by_name before insert or update on storage.objects
    for each row execute function public.raise_by_name();`

/** What is about users' own rules is told with its text; what is about the server or the moment is not. */
const TOLD = /^(?:2[23]|42|P0|ZZ)/

type Expected = [http: number, statusCode: string, code: string]

describe.each([
  ['by default', {}],
  ['under STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }],
])('a trigger that fails, %s', (_mode, env: Record<string, string>) => {
  const isCompat = 'STORAGE_COMPAT' in env
  let server: TestServer

  beforeAll(async () => {
    server = await startTestServer(env)
    await server.admin.unsafe(RAISE)
    await server.createBucket('box')
  })

  afterAll(async () => {
    await expectNoDrift(server)
    await server.close()
  })

  it.each<[state: string, plain: Expected, compat: Expected]>([
    ['42501', [403, '403', 'AccessDenied'], [400, '403', 'AccessDenied']],
    ['23505', [400, '400', 'DatabaseError'], [400, '409', 'DatabaseError']],
    ['22P02', [400, '400', 'InvalidParameter'], [400, '400', 'InvalidParameter']],
    ['40001', [409, '409', 'TransactionError'], [400, '409', 'TransactionError']],
    ['40P01', [409, '409', 'TransactionError'], [400, '409', 'TransactionError']],
    ['55P03', [423, '423', 'ResourceLocked'], [400, '423', 'ResourceLocked']],
    ['57014', [503, '503', 'DatabaseTimeout'], [544, '544', 'DatabaseTimeout']],
    ['25006', [503, '503', 'DatabaseReadOnly'], [400, '503', 'DatabaseReadOnly']],
    ['53300', [503, '503', 'SlowDown'], [429, '429', 'SlowDown']],
    ['42703', [500, '500', 'DatabaseSchemaMismatch'], [400, '503', 'DatabaseSchemaMismatch']],
    ['42P01', [500, '500', 'DatabaseSchemaMismatch'], [400, '503', 'DatabaseSchemaMismatch']],
    [
      '42P17',
      [500, '500', 'DatabaseInvalidObjectDefinition'],
      [400, '503', 'DatabaseInvalidObjectDefinition'],
    ],
    ['P0001', [400, '400', 'DatabaseError'], [500, '500', 'DatabaseError']],
    ['XX000', [500, '500', 'DatabaseError'], [500, '500', 'DatabaseError']],
    ['ZZ999', [400, '400', 'DatabaseError'], [500, '500', 'DatabaseError']],
  ])('with SQLSTATE %s: its status, and nothing is left, whatever the size', async (state, plain, compat) => {
    await expectNothingWritten(server, async () => {
      for (const size of [5, 400_000]) {
        const path = `/object/box/raise-${state}`
        const response = await server.request('POST', path, { body: 'x'.repeat(size) })
        const body = (await response.json()) as Record<string, string>
        expect([response.status, body.statusCode, body.code]).toEqual(isCompat ? compat : plain)
        expect(Object.keys(body)).toHaveLength(4)
        expect(body.message?.includes('the detail of')).toBe(TOLD.test(state))
      }
    })
  })

  it('that a move meets leaves the object as it was', async () => {
    await server.request('PUT', '/object/box/still.txt', { body: 'here' })
    await expectNothingWritten(server, async () => {
      const body = { bucketId: 'box', sourceKey: 'still.txt', destinationKey: 'raise-P0001' }
      const status = isCompat ? 500 : 400
      expect((await server.request('POST', '/object/move', { body })).status).toBe(status)
      expect((await server.request('POST', '/object/copy', { body })).status).toBe(status)
    })
    expect(await (await server.request('GET', '/object/box/still.txt')).text()).toBe('here')
  })
})

describe('an unexpected fault', () => {
  let server: TestServer

  beforeAll(async () => {
    server = await startTestServer()
    await server.createBucket('box')
    await server.request('PUT', '/object/box/a.txt', { body: 'hello' })
  })

  afterAll(() => server.close())

  it('in the database is answered in one plain sentence with the request’s id, and logged whole', async () => {
    await server.admin.unsafe(RAISE)
    const response = await server.request('POST', '/object/box/raise-XX000', { body: 'x' })
    const id = response.headers.get('x-request-id')
    expect(await response.json()).toEqual({
      statusCode: '500',
      error: 'DatabaseError',
      code: 'DatabaseError',
      message: `The database refused the request (request ${id})`,
    })
    const [line, ...more] = server.logs.filter((one) => one.requestId === id && one.level === 50)
    expect(line).toMatchObject({
      code: 'DatabaseError',
      err: { code: 'XX000', message: 'the detail of raise-XX000', stack: expect.any(String) },
    })
    expect(more).toEqual([])
  })

  it('of ours is answered in one plain sentence with the request’s id, and logged whole', async () => {
    // A trigger, where none is to be, that makes a statement do nothing and say nothing either.
    await server.admin.unsafe(`
      create function public.skip() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger skip before insert on storage.webhooks for each row execute function public.skip()`)
    const body = { url: 'https://example.com/' }
    const response = await server.request('POST', '/webhook', { body })
    const id = response.headers.get('x-request-id')
    expect(await response.json()).toEqual({
      statusCode: '500',
      error: 'InternalError',
      code: 'InternalError',
      message: `Something went wrong on our side (request ${id})`,
    })
    expect(response.status).toBe(500)
    expect(server.logs.filter((one) => one.requestId === id && one.level === 50)).toEqual([
      expect.objectContaining({
        code: 'InternalError',
        err: expect.objectContaining({
          message: expect.stringMatching(/no row/),
          stack: expect.any(String),
        }),
      }),
    ])
    await server.admin`drop trigger skip on storage.webhooks`
  })

  it('never shows the token, nor the query, in any line of the log', async () => {
    await server.request('GET', '/object/sign/box/a.txt?token=secret-token-in-query')
    const everything = JSON.stringify(server.logs)
    expect(everything).toContain('storage.object.get_signed')
    for (const secret of ['secret-token-in-query', server.keys.serviceKey, server.keys.signingSecret]) {
      expect(everything).not.toContain(secret)
    }
  })
})
