import { type SQL, sql } from 'drizzle-orm'
import type { WebhookFormat, WebhookValues } from '../../config/webhook-fields.ts'
import type { EventType } from '../../model/event-types.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { dateOr1970, textArray } from '../connection/row-values.ts'

/** One row of `storage.webhooks`. */
export interface WebhookRow extends WebhookValues {
  id: string
  /** `settings`: made and removed by STORAGE_WEBHOOKS. */
  source: 'api' | 'settings'
  /** Another one whenever whoever works for it has to look again. */
  revision: string
  createdAt: Date
  updatedAt: Date
}

/** What a webhook has not taken. */
export interface WebhookBacklog {
  pending: number
  dead: number
  /** Of the delivery that failed last, among those. */
  lastStatus: number | null
  lastError: string | null
}

/** The name of a webhook's row in `storage.event_sinks`, and of its turns. */
export function sinkName(id: string): string {
  return `webhook:${id}`
}

/** All of them, the oldest first. */
export async function listWebhooks(tx: Transaction): Promise<WebhookRow[]> {
  const rows = await tx.execute<Row>(sql`select ${COLUMNS} from storage.webhooks order by created_at, id`)
  return rows.map(fromRow)
}

/** Lets nobody else change them until the end of the transaction. */
export async function lockWebhooks(tx: Transaction): Promise<void> {
  await tx.execute(sql`lock table storage.webhooks in share row exclusive mode`)
}

/** @param lock keeps it as it is until the end of the transaction */
export async function findWebhook(
  tx: Transaction,
  id: string,
  { lock = false } = {},
): Promise<WebhookRow | null> {
  const [row] = await tx.execute<Row>(
    sql`select ${COLUMNS} from storage.webhooks where id = ${id} ${lock ? sql`for update` : sql``}`,
  )
  return row ? fromRow(row) : null
}

/** How much each webhook has not taken; those that have taken all are not in the answer. */
export async function webhookBacklogs(tx: Transaction, ids: string[]): Promise<Map<string, WebhookBacklog>> {
  const rows = await tx.execute<{
    webhook_id: string
    pending: number
    dead: number
    last_status: number | null
    last_error: string | null
  }>(sql`select webhook_id,
      (count(*) filter (where state = 'pending'))::int as pending,
      (count(*) filter (where state = 'dead'))::int as dead,
      (array_agg(last_status order by updated_at desc) filter (where last_error is not null))[1] as last_status,
      (array_agg(last_error order by updated_at desc) filter (where last_error is not null))[1] as last_error
    from storage.webhook_deliveries where webhook_id::text = any (${textArray(ids)}) group by webhook_id`)
  return new Map(
    rows.map((row) => [
      row.webhook_id,
      { pending: row.pending, dead: row.dead, lastStatus: row.last_status, lastError: row.last_error },
    ]),
  )
}

/** Makes one that gets what happens from now on. @param newest the newest position */
export async function insertWebhook(
  tx: Transaction,
  webhook: WebhookValues & Pick<WebhookRow, 'id' | 'source'>,
  newest: number,
): Promise<WebhookRow> {
  const [row] = await tx.execute<Row>(sql`
    insert into storage.webhooks (id, source, url, secret, events, bucket, format, allow_private)
    values (${webhook.id}, ${webhook.source}, ${valuesOf(webhook)}) returning ${COLUMNS}`)
  if (!row) throw new Error('an insert returned no row')
  await tx.execute(
    sql`insert into storage.event_sinks (name, position) values (${sinkName(webhook.id)}, ${newest})`,
  )
  return fromRow(row)
}

/** Changes one that is there. What it has failed to take is due: it may work now. */
export async function updateWebhook(
  tx: Transaction,
  id: string,
  webhook: WebhookValues,
): Promise<WebhookRow> {
  const [row] = await tx.execute<Row>(sql`
    update storage.webhooks
    set (url, secret, events, bucket, format, allow_private) = row (${valuesOf(webhook)}),
      revision = gen_random_uuid(), updated_at = now()
    where id = ${id} returning ${COLUMNS}`)
  if (!row) throw new Error('an update returned no row')
  await tx.execute(sql`update storage.webhook_deliveries set next_attempt_at = now()
    where webhook_id = ${id} and state = 'pending'`)
  return fromRow(row)
}

/** With all that it has not taken, and its place in the order. */
export async function deleteWebhook(tx: Transaction, id: string): Promise<void> {
  await tx.execute(sql`delete from storage.event_sinks where name = ${sinkName(id)}`)
  await tx.execute(sql`delete from storage.webhooks where id = ${id}`)
}

/** Makes whoever works for it look again. */
export async function reviseWebhook(tx: Transaction, id: string): Promise<void> {
  await tx.execute(sql`update storage.webhooks set revision = gen_random_uuid() where id = ${id}`)
}

/** How far a webhook has got; null when it is gone or another one by now. @throws DatabaseUnavailable */
export async function webhookPosition(
  database: Database,
  { id, revision }: Pick<WebhookRow, 'id' | 'revision'>,
): Promise<number | null> {
  const [row] = await asService(database, (tx) =>
    tx.execute<{ position: string }>(
      sql`select position from storage.event_sinks where name = ${sinkName(id)} and ${isStill(id, revision)}`,
    ),
  )
  return row ? Number(row.position) : null
}

/** A condition: that the webhook is the one that is known here. */
export function isStill(id: string, revision: string): SQL {
  return sql`exists (select from storage.webhooks where id = ${id} and revision = ${revision})`
}

const COLUMNS = sql.raw(
  'id, url, secret, events, bucket, format, allow_private, source, revision, created_at, updated_at',
)

function valuesOf({ url, secret, events, bucket, format, allowPrivate }: WebhookValues): SQL {
  return sql`${url}::text, ${secret}::text, ${textArray(events)}, ${bucket}::text, ${format}::text, ${allowPrivate}::boolean`
}

interface Row extends Record<string, unknown> {
  id: string
  url: string
  secret: string | null
  events: EventType[]
  bucket: string | null
  format: WebhookFormat
  allow_private: boolean
  source: 'api' | 'settings'
  revision: string
  created_at: string
  updated_at: string
}

function fromRow(row: Row): WebhookRow {
  return {
    id: row.id,
    url: row.url,
    secret: row.secret,
    events: row.events,
    bucket: row.bucket,
    format: row.format,
    allowPrivate: row.allow_private,
    source: row.source,
    revision: row.revision,
    createdAt: dateOr1970(row.created_at),
    updatedAt: dateOr1970(row.updated_at),
  }
}
