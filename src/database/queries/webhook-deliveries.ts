import { sql } from 'drizzle-orm'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { dateOr1970 } from '../connection/row-values.ts'
import type { StorageEvent } from './events.ts'
import { isStill, sinkName, type WebhookRow } from './webhooks.ts'

/** An event that a webhook has not taken yet: it has failed, or waits behind one that has. */
export interface PendingDelivery {
  event: StorageEvent
  /** What shares one of them is delivered in order. */
  places: string[]
  /** How often it was tried; 0 when it has only waited. */
  attempts: number
  /** Until its next attempt, in milliseconds; 0 when it is due. */
  waitMs: number
}

/** What has become of a delivery that was tried, or put off. */
export interface UnfinishedDelivery {
  event: StorageEvent
  places: string[]
  state: 'pending' | 'dead'
  attempts: number
  /** Until the next attempt, in milliseconds. */
  waitMs: number
  lastStatus: number | null
  lastError: string | null
}

export interface DeadLetter {
  event: StorageEvent
  attempts: number
  lastStatus: number | null
  lastError: string | null
  /** When it was tried last. */
  failedAt: Date
}

/** The first of a webhook's pending deliveries, at most `limit`, in order. @throws DatabaseUnavailable */
export async function pendingDeliveries(
  database: Database,
  webhookId: string,
  limit: number,
): Promise<PendingDelivery[]> {
  const rows = await asService(database, (tx) =>
    tx.execute<{ event: StoredEvent; places: string[]; attempts: number; wait_ms: number }>(sql`
      select event, places, attempts,
        greatest(0, extract(epoch from next_attempt_at - now()) * 1000)::float8 as wait_ms
      from storage.webhook_deliveries
      where webhook_id = ${webhookId} and state = 'pending' order by position limit ${limit}`),
  )
  return rows.map((row) => ({
    event: fromStored(row.event),
    places: row.places,
    attempts: row.attempts,
    waitMs: row.wait_ms,
  }))
}

/** What one round of deliveries has changed. */
export interface RoundResult {
  /** The position before and after it. */
  from: number
  to: number
  /** Positions of what the webhook has taken now. */
  delivered: number[]
  unfinished: UnfinishedDelivery[]
  /** The receiver is back: all that is pending is due. */
  isBack: boolean
}

/**
 * Writes down what became of a round, all or nothing. Returns whether it did: not when the webhook is gone or was
 * changed, so that nothing is passed over which it wants by now; nor when another server has gone on with it.
 *
 * @throws DatabaseUnavailable
 */
export function settleRound(
  database: Database,
  { id: webhookId, revision }: Pick<WebhookRow, 'id' | 'revision'>,
  result: RoundResult,
): Promise<boolean> {
  const { from, to, delivered, unfinished, isBack } = result
  return asService(database, async (tx) => {
    const moved = await tx.execute(sql`update storage.event_sinks set position = ${to}
      where name = ${sinkName(webhookId)} and position = ${from} and ${isStill(webhookId, revision)} returning name`)
    if (moved.length === 0) return false
    if (delivered.length > 0) {
      await tx.execute(sql`delete from storage.webhook_deliveries
        where webhook_id = ${webhookId} and state = 'pending'
          and position in (select value::bigint from jsonb_array_elements(${JSON.stringify(delivered)}::jsonb))`)
    }
    if (isBack) {
      await tx.execute(sql`update storage.webhook_deliveries set next_attempt_at = now()
        where webhook_id = ${webhookId} and state = 'pending'`)
    }
    if (unfinished.length > 0) await saveUnfinished(tx, webhookId, unfinished)
    return true
  })
}

async function saveUnfinished(
  tx: Transaction,
  webhookId: string,
  unfinished: UnfinishedDelivery[],
): Promise<void> {
  const rows = unfinished.map(({ event, places, state, attempts, waitMs, lastStatus, lastError }) => ({
    position: event.position,
    event: withoutUserMetadata(event),
    places,
    state,
    attempts,
    wait_ms: waitMs,
    last_status: lastStatus,
    last_error: lastError,
  }))
  await tx.execute(sql`
    insert into storage.webhook_deliveries
      (webhook_id, position, places, event, state, attempts, next_attempt_at, last_status, last_error)
    select ${webhookId}, r.position, r.places, r.event, r.state, r.attempts,
      now() + r.wait_ms * interval '1 millisecond', r.last_status, r.last_error
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as r (
      position bigint, places text[], event jsonb, state text, attempts integer, wait_ms float8,
      last_status integer, last_error text
    )
    on conflict (webhook_id, position) do update set
      state = excluded.state, attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at,
      last_status = excluded.last_status, last_error = excluded.last_error, updated_at = now()`)
}

/** A webhook's dead letters after a position, at most `limit`, in order. */
export async function deadLetters(
  tx: Transaction,
  webhookId: string,
  { after, limit }: { after: number; limit: number },
): Promise<DeadLetter[]> {
  const rows = await tx.execute<{
    event: StoredEvent
    attempts: number
    last_status: number | null
    last_error: string | null
    updated_at: string
  }>(sql`
    select event, attempts, last_status, last_error, updated_at from storage.webhook_deliveries
    where webhook_id = ${webhookId} and state = 'dead' and position > ${after} order by position limit ${limit}`)
  return rows.map((row) => ({
    event: fromStored(row.event),
    attempts: row.attempts,
    lastStatus: row.last_status,
    lastError: row.last_error,
    failedAt: dateOr1970(row.updated_at),
  }))
}

/** Makes dead letters pending as if they were new, and says how many. @param positions null is all */
export async function replayDeadLetters(
  tx: Transaction,
  webhookId: string,
  positions: number[] | null,
): Promise<number> {
  const list = positions === null ? null : JSON.stringify(positions)
  const rows = await tx.execute(sql`
    update storage.webhook_deliveries set state = 'pending', attempts = 0, next_attempt_at = now(), updated_at = now()
    where webhook_id = ${webhookId} and state = 'dead' and (${list}::jsonb is null
      or position in (select value::bigint from jsonb_array_elements(${list}::jsonb)))
    returning 1`)
  return rows.length
}

/** Returns whether there was one. */
export async function deleteDeadLetter(
  tx: Transaction,
  webhookId: string,
  position: number,
): Promise<boolean> {
  const rows = await tx.execute(sql`delete from storage.webhook_deliveries
    where webhook_id = ${webhookId} and position = ${position} and state = 'dead' returning 1`)
  return rows.length > 0
}

/** As JSON has it; without a trace where it was written down before there were any. */
type StoredEvent = Omit<StorageEvent, 'createdAt' | 'traceparent'> & {
  createdAt: string
  traceparent?: string | null
}

/** Receivers do not get it, and it can be large. */
function withoutUserMetadata({ record, ...event }: StorageEvent): StorageEvent {
  return { ...event, record: record && { ...record, user_metadata: null } }
}

function fromStored(event: StoredEvent): StorageEvent {
  return { ...event, createdAt: dateOr1970(event.createdAt), traceparent: event.traceparent ?? null }
}
