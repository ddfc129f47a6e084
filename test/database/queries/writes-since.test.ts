import { afterAll, beforeAll, expect, it } from 'vitest'
import { currentTransaction, writesSince } from '../../../src/database/queries/writes-since.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

let test: TestDatabase
beforeAll(async () => {
  test = await createTestDatabase()
})
afterAll(() => test.drop())

it('are what clients have written, and not what servers do by themselves, nor the events that tell of that', async () => {
  const { admin } = test
  const before = await currentTransaction(admin)
  await admin`insert into storage.backup_jobs (id, kind, type, status, target)
    values ('019aa61e-31c0-7d11-8f4e-5d6c0a2b9e77', 'backup', 'full', 'running', '/t')`
  await admin`update storage.backup_jobs set status = 'completed'`
  expect(await admin`select type from storage.events`).toEqual([{ type: 'storage.backup.completed' }])
  expect(await writesSince(admin, before)).toEqual([])
  await admin`insert into storage.buckets (id, name) values ('b', 'b')`
  expect(await writesSince(admin, before)).toEqual([
    { table: 'storage.buckets', count: 1 },
    { table: 'storage.events', count: 1 },
  ])
})
