import { afterAll, beforeAll, expect, it } from 'vitest'
import { TABLES } from '../../../src/database/dump/tables.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

let made: TestDatabase
beforeAll(async () => {
  made = await createTestDatabase()
})
afterAll(() => made.drop())

it('have each their place among those that go along or stay', async () => {
  const rows = await made.admin<{ name: string }[]>`
    select relname as name from pg_class where relnamespace = 'storage'::regnamespace and relkind in ('r', 'p')`
  const known = new Set(TABLES.map(({ name }) => name))
  expect(rows.map(({ name }) => name).filter((name) => !known.has(name))).toEqual([])
})

it('come behind what they refer to', async () => {
  const order = TABLES.map(({ name }) => name)
  const references = await made.admin<{ table: string; to: string }[]>`
    select f.relname as table, t.relname as to from pg_constraint c
    join pg_class f on f.oid = c.conrelid join pg_class t on t.oid = c.confrelid
    where c.contype = 'f' and f.relnamespace = 'storage'::regnamespace and f.oid <> t.oid`
  expect(references.length).toBeGreaterThan(0)
  expect(references.filter(({ table, to }) => order.indexOf(table) < order.indexOf(to))).toEqual([])
})
