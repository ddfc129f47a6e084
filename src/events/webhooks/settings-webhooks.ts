import { createHash } from 'node:crypto'
import type { WebhookValues } from '../../config/webhook-fields.ts'
import { webhookIdentity } from '../../config/webhooks.ts'
import { asService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { orderEvents } from '../../database/queries/events.ts'
import {
  deleteWebhook,
  insertWebhook,
  listWebhooks,
  lockWebhooks,
  updateWebhook,
  type WebhookRow,
} from '../../database/queries/webhooks.ts'

/**
 * Makes the rows of STORAGE_WEBHOOKS equal to what it says now. A webhook of the same url, bucket and format stays the
 * same one, with all that it has not taken yet. Of servers with different settings, the last one to start wins.
 *
 * @throws DatabaseUnavailable
 */
export async function syncSettingsWebhooks(database: Database, settings: WebhookValues[]): Promise<void> {
  const wanted = new Map(settings.map((setting) => [settingId(setting), setting]))
  // Mostly there is nothing to do, and a database that can only be read will do.
  if (isSynced(wanted, await asService(database, listWebhooks))) return
  const newest = await orderEvents(database)
  await asService(database, async (tx) => {
    await lockWebhooks(tx) // servers start together
    const rows = new Map((await listWebhooks(tx)).filter(isOfSettings).map((row) => [row.id, row]))
    for (const id of rows.keys()) if (!wanted.has(id)) await deleteWebhook(tx, id)
    for (const [id, setting] of wanted) {
      const row = rows.get(id)
      if (row === undefined) await insertWebhook(tx, { ...setting, id, source: 'settings' }, newest)
      else if (!isSame(setting, row)) await updateWebhook(tx, id, setting)
    }
  })
}

function isSynced(wanted: Map<string, WebhookValues>, rows: WebhookRow[]): boolean {
  const found = rows.filter(isOfSettings)
  return found.length === wanted.size && found.every((row) => isSame(wanted.get(row.id), row))
}

function isOfSettings({ source }: WebhookRow): boolean {
  return source === 'settings'
}

/** A UUID that is made from what is hashed (RFC 9562 §5.8). */
function settingId(setting: WebhookValues): string {
  const hash = createHash('sha256').update(webhookIdentity(setting)).digest()
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x80, 6)
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8)
  return hash.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

function isSame(a: WebhookValues | undefined, b: WebhookValues): boolean {
  return a !== undefined && comparable(a) === comparable(b)
}

function comparable({ url, secret, events, bucket, format, allowPrivate }: WebhookValues): string {
  return JSON.stringify([url, secret, events, bucket, format, allowPrivate])
}
