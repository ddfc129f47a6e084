import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { migrate } from '../../../src/database/migrations/migrate.ts'
import { MAJORS } from '../../support/postgres-majors.ts'
import { type ProviderPostgres, startProviderPostgres } from '../../support/provider-postgres.ts'

const ROWS = 20_000
const PAGE = 10

/** What a page of the bytes in the database is read from, on each PostgreSQL: they plan it in other ways. */
describe.each(MAJORS)(
  'a page of storage.list_inline_bytes in PostgreSQL $major$needs',
  ({ major, isHere }) => {
    describe.skipIf(!isHere)('of many', () => {
      let provider: ProviderPostgres
      beforeAll(async () => {
        provider = await startProviderPostgres(major)
        await migrate(provider.url('postgres'), pino({ level: 'silent' }))
        await provider.admin`
        insert into storage.inline_bytes (version, bytes) select gen_random_uuid(), '' from generate_series(1, ${ROWS})`
        await provider.admin`analyze storage.inline_bytes`
      })
      afterAll(() => provider?.stop())

      /** Pages of the database that it looks at. */
      async function looksAt(after: string | null): Promise<number> {
        const list = `select * from storage.list_inline_bytes(${after === null ? 'null' : `'${after}'`}, ${PAGE})`
        const [row] = await provider.admin.unsafe(`explain (analyze, buffers, format json) ${list}`)
        const plan = row?.['QUERY PLAN'][0].Plan
        expect(plan['Actual Rows']).toBe(PAGE)
        return plan['Shared Hit Blocks'] + plan['Shared Read Blocks']
      }

      it('is read alone, the first one and the last', async () => {
        const [last] = await provider.admin`
        select version from storage.inline_bytes order by version desc offset ${PAGE} limit 1`
        const most = 5 * PAGE // a few of the index, and that of each row
        for (const after of [null, String(last?.version)]) {
          await looksAt(after) // once without what is read to plan it
          expect(await looksAt(after)).toBeLessThan(most)
        }
      })
    })
  },
)
