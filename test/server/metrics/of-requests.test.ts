import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openEvents } from '../../support/event-stream.ts'
import { type ParsedFamily, parseExposition, seriesOf } from '../../support/exposition.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { type Receiver, startReceiver } from '../../support/webhook-receiver.ts'
import { hookState, makeHook } from '../../support/webhooks.ts'

let server: TestServer
let receiver: Receiver
let families: Map<string, ParsedFamily>

/* What there is to be told of is there before the first scrape: what comes from the database is not looked at again at once. */
beforeAll(async () => {
  server = await startTestServer({
    STORAGE_WEBHOOK_ATTEMPTS: '1',
    STORAGE_CLEANUP_INTERVAL: '50ms',
    STORAGE_BACKUP_ENABLED: 'false',
  })
  receiver = await startReceiver()
  receiver.behaviour = ({ json }) => (JSON.stringify(json).includes('refused.txt') ? 500 : 200)
  await server.createBucket('box')
  const { id } = await makeHook(server, receiver.url, { bucket: 'box' })
  for (const name of ['refused.txt', 'taken.txt']) {
    await server.request('POST', `/object/box/${name}`, { body: 'x' })
  }
  await until(async () => {
    const { pending, dead } = await hookState(server, id)
    return pending === 0 && dead === 1 && receiver.taken().length === 1
  }, 'both events have come to their ends')
  await server.admin`
    insert into storage.backup_jobs (id, kind, type, status, target, started_at, completed_at, created_by)
    values (${randomUUID()}, 'backup', 'full', 'completed', '/backups', to_timestamp(1000), to_timestamp(1060), 'test')`
  await server.admin`
    insert into storage.scrubs (scope, total, checked, corrupted, missing, finished_at)
    values ('', 10, 10, 2, 1, to_timestamp(2000))`
  await until(async () => {
    families = await scrape()
    return (seriesOf(families, 'storage_cleanup_last_success_timestamp_seconds') ?? 0) > 0
  }, 'a cleanup has made a pass')
})
afterAll(async () => {
  await server.close()
  await receiver.close()
})

async function scrape(): Promise<Map<string, ParsedFamily>> {
  return parseExposition(await (await server.request('GET', '/metrics')).text())
}

it('tells what webhooks have taken, and of dead letters', () => {
  const deliveries = (status: string) =>
    seriesOf(families, 'storage_deliveries_total', { sink: 'webhook', status })
  expect([deliveries('delivered'), deliveries('failed'), deliveries('dead')]).toEqual([1, 0, 1])
  expect(seriesOf(families, 'storage_dead_letters')).toBe(1)
  expect(seriesOf(families, 'storage_pending_deliveries')).toBe(0)
  const [lag] = families.get('storage_outbox_lag_events')?.samples ?? []
  expect(lag?.labels.sink).toMatch(/^webhook:/)
})

it('tells of the last scrub and the last backup', () => {
  expect(seriesOf(families, 'storage_scrub_last_success_timestamp_seconds')).toBe(2000)
  expect(seriesOf(families, 'storage_scrub_damaged_objects', { reason: 'corrupted' })).toBe(2)
  expect(seriesOf(families, 'storage_scrub_damaged_objects', { reason: 'missing' })).toBe(1)
  expect(seriesOf(families, 'storage_backup_last_success_timestamp_seconds')).toBe(1060)
  expect(seriesOf(families, 'storage_backup_duration_seconds')).toBe(60)
  expect(seriesOf(families, 'storage_backup_drill_last_success_timestamp_seconds')).toBe(0)
})

it('tells what lifecycle rules have done by request, and nothing that they only would', async () => {
  await server.createBucket('tidy')
  await server.request('POST', '/object/tidy/old.txt', { body: 'x' })
  const made = await server.request('POST', '/lifecycle', {
    body: { name: 'tidy', bucket: 'tidy', enabled: false, rules: [{ action: 'delete', after_days: 0 }] },
  })
  const { id } = (await made.json()) as { id: string }
  const counted = async () =>
    seriesOf(await scrape(), 'storage_lifecycle_actions_total', { action: 'delete' })
  expect((await server.request('POST', `/lifecycle/${id}/run?dry_run=true`)).status).toBe(200)
  expect(await counted()).toBe(0)
  expect((await server.request('POST', `/lifecycle/${id}/run`)).status).toBe(200)
  expect(await counted()).toBe(1)
})

it('tells of the passes of the cleanup', () => {
  expect(seriesOf(families, 'storage_cleanup_passes_total', { status: 'success' })).toBeGreaterThan(0)
  expect(seriesOf(families, 'storage_cleanup_passes_total', { status: 'error' })).toBe(0)
  expect(seriesOf(families, 'storage_orphan_files_total')).toBe(0)
})

it('tells who listens, for as long as he does', async () => {
  const stream = await openEvents(server)
  await until(async () => seriesOf(await scrape(), 'storage_subscribers') === 1, 'he is counted')
  stream.close()
  await until(async () => seriesOf(await scrape(), 'storage_subscribers') === 0, 'he has gone')
})
