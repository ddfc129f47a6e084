import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type AuditFilter,
  dropAuditMonths,
  exportAudit,
  listAudit,
  makeAuditMonth,
  writeAudit,
} from '../../../src/database/queries/audit.ts'
import type { AuditEntry } from '../../../src/telemetry/audit-entry.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

let made: TestDatabase
beforeAll(async () => {
  made = await createTestDatabase()
})
afterAll(() => made.drop())

function entry(fields: Partial<AuditEntry> = {}): AuditEntry {
  return {
    at: new Date().toISOString(),
    id: randomUUID(),
    action: 'upload',
    resource_type: 'object',
    allowed: true,
    status: 200,
    repeated: 0,
    ...fields,
  }
}

const none = (_: AuditEntry, error: unknown): void => {
  throw error
}
const write = (entries: AuditEntry[], unfit = none) => writeAudit(made.database, entries, unfit)

async function months(): Promise<string[]> {
  const rows = await made.admin<{ name: string }[]>`
    select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'storage.audit_log'::regclass order by 1`
  return rows.map(({ name }) => name.replace('audit_log_', ''))
}

async function stored(): Promise<string[]> {
  const rows = await made.admin<{ id: string }[]>`select id from storage.audit_log order by at, id`
  return rows.map(({ id }) => id)
}

describe('entries', () => {
  it('make the months that they need, whoever writes first', async () => {
    expect(await months()).toEqual([])
    const dates = ['2026-10-31T23:59:59.999Z', '2026-11-01T00:00:00.000Z', '2026-12-31T23:59:59.999Z']
    const batches = Array.from({ length: 6 }, () => dates.map((at) => entry({ at })))
    await Promise.all(batches.map((batch) => write(batch)))
    expect(await months()).toEqual(['2026_10', '2026_11', '2026_12'])
    expect((await stored()).length).toBe(18)
    await makeAuditMonth(made.database, new Date('2027-01-05'))
    await makeAuditMonth(made.database, new Date('2027-01-06'))
    expect(await months()).toEqual(['2026_10', '2026_11', '2026_12', '2027_01'])
  })

  it('are there once, however often they are sent', async () => {
    await made.admin`truncate storage.audit_log`
    const all = [entry(), entry()]
    await Promise.all([write(all), write(all)])
    await write([...all, entry()])
    expect(await stored()).toHaveLength(3)
  })

  it('come out as they went in, whatever they have in common', async () => {
    const whole: Required<AuditEntry> = {
      at: '2026-11-28T10:15:00.123Z',
      id: '',
      action: 'move',
      resource_type: 'object',
      resource_id: '"7"',
      user_id: 'ü\\',
      role: 'authenticated',
      file_id: randomUUID(),
      bucket: 'docs',
      path: 'a, "b" {c}',
      target: 'docs/b',
      allowed: false,
      status: 403,
      bytes: 2 ** 40,
      address: '2001:db8::1',
      user_agent: "it's\nme",
      request_id: 'r 1',
      via: 'token',
      credential: 'key',
      repeated: 3,
    }
    const names = Object.keys(whole) as (keyof AuditEntry)[]
    const optional = names.filter((name) => !(name in entry()))
    const batches = [
      [{}, {}], // all in common
      optional.map((name) => ({ [name]: undefined })), // each one that some have not
      [{ allowed: true }, { status: 201 }, { repeated: 0 }, { action: 'copy' as const }, { bytes: 0 }],
      [{ user_id: 'null' }],
    ].map((batch) => batch.map((fields) => ({ ...whole, id: randomUUID(), ...fields })))
    for (const batch of batches) {
      await made.admin`truncate storage.audit_log`
      await write(batch)
      const rows = await listAudit(made.database, {}, { limit: 100 })
      const expected = batch.map((one) => Object.fromEntries(names.map((name) => [name, one[name] ?? null])))
      const byId = (a: { id?: unknown }, b: { id?: unknown }) => (String(a.id) < String(b.id) ? -1 : 1)
      expect([...rows].sort(byId)).toEqual(expected.sort(byId))
    }
  })

  it('that PostgreSQL does not take keep no other from being stored', async () => {
    await made.admin`truncate storage.audit_log`
    const good = Array.from({ length: 20 }, (_, n) => entry({ path: `${n}` }))
    const bad = [entry({ address: 'no address' }), entry({ path: 'a\0b' }), entry({ status: 100_000 })]
    const unfit: string[] = []
    const all = [...good.slice(0, 7), ...bad, ...good.slice(7)]
    await write(all, ({ id }) => void unfit.push(id))
    expect(unfit.sort()).toEqual(bad.map(({ id }) => id).sort())
    expect((await stored()).sort()).toEqual(good.map(({ id }) => id).sort())
  })

  it('are closed in each month as in all of it, and are the service’s to read and nobody’s to change', async () => {
    const [rights] = await made.admin<{ open: number; guarded: boolean }[]>`
      select count(*) filter (where has_table_privilege(r.role, c.oid, 'select, insert, update, delete, truncate'))::int as open,
        bool_and(c.relrowsecurity) as guarded
      from pg_class c, unnest(array['anon', 'authenticated']) r (role)
      where c.relname like 'audit\\_log%' and c.relkind in ('r', 'p')`
    expect(rights).toEqual({ open: 0, guarded: true })
    const asService = (statement: string) =>
      made.database.sql.begin(async (sql) => {
        await sql`set local role service_role`
        return sql.unsafe(statement)
      })
    expect((await asService('select * from storage.audit_log')).length).toBeGreaterThan(0)
    for (const change of ['delete from', 'truncate', 'update']) {
      const statement = `${change} storage.audit_log${change === 'update' ? " set action = 'x'" : ''}`
      await expect(asService(statement)).rejects.toMatchObject({ code: '42501' })
    }
  })
})

describe('what is read', () => {
  const file = randomUUID()
  const at = (n: number) => new Date(Date.UTC(2026, 10, 1 + (n % 28), 0, 0, 0, n % 3)).toISOString()

  beforeAll(async () => {
    await made.admin`truncate storage.audit_log`
    const entries = Array.from({ length: 300 }, (_, n) =>
      entry({
        at: at(n),
        user_id: `user-${n % 10}`,
        bucket: `bucket-${n % 5}`,
        path: `path-${n % 50}`,
        action: n % 20 === 0 ? 'delete' : 'upload',
        role: n % 30 === 0 ? 'service_role' : 'authenticated',
        allowed: n % 25 !== 0,
        ...(n % 60 === 0 && { file_id: file }),
      }),
    )
    await write(entries)
  })

  async function all(filter: AuditFilter, limit = 1000) {
    const rows = []
    let after: { at: Date; id: string } | undefined
    do {
      const page = await listAudit(made.database, filter, { limit, after })
      rows.push(...page)
      const last = page.at(-1)
      after = last && page.length === limit ? { at: new Date(last.at), id: last.id } : undefined
    } while (after)
    return rows
  }

  it('is by pages of any size the same, the newest first, or the oldest', async () => {
    const whole = await all({})
    expect(whole).toHaveLength(300)
    const keys = whole.map((row) => `${row.at} ${row.id}`)
    expect(keys).toEqual([...keys].sort().reverse())
    expect(await all({}, 7)).toEqual(whole)
    expect(await exportAudit(made.database, {}, { limit: 1000 })).toEqual(whole.toReversed())
  })

  it.each<[filter: AuditFilter, count: number]>([
    [{ userId: 'user-3' }, 30],
    [{ bucket: 'bucket-3' }, 60],
    [{ bucket: 'bucket-3', path: 'path-3' }, 6],
    [{ bucket: 'bucket-4', path: 'path-3' }, 0],
    [{ action: 'delete' }, 15],
    [{ role: 'service_role' }, 10],
    [{ allowed: false }, 12],
    [{ fileId: file }, 5],
    [{ from: new Date(at(27)), userId: 'user-7' }, 2],
    [{ to: new Date('2026-11-02T00:00:00Z') }, 11],
    [{ userId: "x' or true --" }, 0],
  ])('is what is asked for: %j', async (filter, count) => {
    expect(await all(filter, 4)).toHaveLength(count)
  })

  it('comes from an index, whatever is asked for', async () => {
    // As if there were so many that no other way came into question.
    const undo = new Error('undo')
    const plans: string[] = []
    const explained = made.admin.begin(async (sql) => {
      const explain = async (condition: string) => {
        const plan = await sql.unsafe(`
          explain select * from storage.audit_log where at >= '2026-11-01' and at < '2026-12-01' and ${condition}
          order by at desc, id desc limit 10`)
        const text = plan.map((row) => row['QUERY PLAN']).join('\n')
        plans.push(/using audit_log_\d{4}_\d\d_(\w+)/.exec(text)?.[1] ?? text)
      }
      await sql`set local enable_seqscan = off`
      await sql`set local enable_bitmapscan = off`
      await explain('true')
      await sql`alter table storage.audit_log drop constraint audit_log_pkey`
      await explain(`user_id = 'u'`)
      await explain(`bucket = 'b'`)
      await explain(`hashtextextended(bucket || '/' || path, 0) = hashtextextended('b/p', 0)`)
      await explain(`action = 'delete'`)
      await explain(`role = 'service_role'`)
      await explain('not allowed')
      await explain(`file_id = '${file}'`)
      throw undo
    })
    await expect(explained).rejects.toBe(undo)
    expect(plans).toEqual([
      'pkey',
      'user_id_at_idx',
      'bucket_at_idx',
      'hashtextextended_at_idx',
      'action_at_idx',
      'role_at_idx',
      'at_idx',
      'file_id_at_idx',
    ])
  })
})

describe('months that were over', () => {
  it('go as a whole, and no other', async () => {
    expect(await months()).toEqual(['2026_10', '2026_11', '2026_12', '2027_01'])
    expect(await dropAuditMonths(made.database, new Date('2026-12-01T00:00:00Z'))).toBe(2)
    expect(await months()).toEqual(['2026_12', '2027_01'])
    expect(await dropAuditMonths(made.database, new Date('2026-12-31T23:59:59Z'))).toBe(0)
  })

  it('stay while somebody reads for long, who is not waited for, and go later', async () => {
    const reading = await made.admin.reserve()
    await reading`begin`
    await reading`select * from storage.audit_log`
    await expect(dropAuditMonths(made.database, new Date('2027-01-01'))).rejects.toThrow()
    await write([entry({ at: '2027-01-03T00:00:00.000Z' })])
    await reading`commit`
    reading.release()
    expect(await dropAuditMonths(made.database, new Date('2027-01-01'))).toBe(1)
  })
})
