import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BUCKET_POLICIES } from '../../src/database/schema.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { FORMER_OPERATIONS } from './access/former-operations.ts'
import { OPERATIONS } from './access/operations.ts'
import { readTable } from './access/table.ts'
import { World } from './access/world.ts'

describe.each([
  ['the default mode', 'default.txt', {}, { ...OPERATIONS, ...FORMER_OPERATIONS }],
  ['STORAGE_COMPAT=supabase', 'compat.txt', { STORAGE_COMPAT: 'supabase' }, OPERATIONS],
])('who may do what, in %s', (_mode, file, env: Record<string, string>, operations) => {
  const table = readTable(new URL(`access/${file}`, import.meta.url))
  let server: TestServer
  let world: World
  beforeAll(async () => {
    server = await startTestServer(env)
    world = await World.make(server)
  })
  afterAll(() => server.close())

  it('has a row for each operation and policy', () => {
    const rows = BUCKET_POLICIES.flatMap((policy) =>
      Object.keys(operations).map((name) => `${policy}: ${name}`),
    )
    expect(table.map(({ policy, operation }) => `${policy}: ${operation}`)).toEqual(rows)
  })

  it.each(table)('$policy: $operation', async ({ policy, operation, outcomes }) => {
    const ask = operations[operation] ?? expect.fail(`There is no ${operation}`)
    const answers = await Promise.all((await world.cells(policy)).map(ask))
    expect(answers.map(String)).toEqual(outcomes)
  })
})
