import { getTableConfig, type PgTable } from 'drizzle-orm/pg-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buckets, objects, removals, uploads } from '../../src/database/schema.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/** `schema.ts` says in TypeScript what `drizzle/` says in SQL: this holds the two together. */

let testDatabase: TestDatabase
beforeAll(async () => {
  testDatabase = await createTestDatabase({ connections: 1 })
})
afterAll(() => testDatabase.drop())

describe.each([
  { name: 'buckets', table: buckets },
  { name: 'objects', table: objects },
  { name: 'uploads', table: uploads },
  { name: 'removals', table: removals },
] as { name: string; table: PgTable }[])('storage.$name', ({ name, table }) => {
  it('has every column of schema.ts, of the same type, nullable and defaulted alike', async () => {
    const found = await testDatabase.admin<ColumnRow[]>`
      select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as required,
        a.atthasdef as defaulted
      from pg_attribute a
      where a.attrelid = ${`storage.${name}`}::regclass and a.attnum > 0 and not a.attisdropped`
    const { columns, name: sqlName, schema } = getTableConfig(table)
    expect([schema, sqlName]).toEqual(['storage', name])
    expect(columns.length).toBeGreaterThan(3)
    const wanted = columns.map((column) => ({
      name: column.name,
      type: sqlType(column),
      required: column.notNull,
      defaulted: column.hasDefault,
    }))
    const known = new Set(columns.map((column) => column.name))
    expect(sorted(found.filter((column) => known.has(column.name)))).toEqual(sorted(wanted))
  })

  it('needs no column that schema.ts does not know', async () => {
    const known = getTableConfig(table).columns.map((column) => column.name)
    const unknown = await testDatabase.admin`
      select attname from pg_attribute
      where attrelid = ${`storage.${name}`}::regclass and attnum > 0 and not attisdropped
        and attnotnull and not atthasdef and attname <> all (${known})`
    expect(unknown).toEqual([])
  })
})

interface ColumnRow {
  name: string
  type: string
  required: boolean
  defaulted: boolean
}

function sorted(columns: ColumnRow[]): ColumnRow[] {
  return [...columns].sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** As PostgreSQL writes a type: an enum with its schema. */
function sqlType(column: { getSQLType(): string; enum?: { schema?: string } }): string {
  const schema = column.enum?.schema
  return schema === undefined ? column.getSQLType() : `${schema}.${column.getSQLType()}`
}
