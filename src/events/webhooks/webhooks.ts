import { randomUUID } from 'node:crypto'
import { type WebhookValues, webhookContradiction } from '../../config/webhook-fields.ts'
import { asService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import type { Transaction } from '../../database/connection/drizzle.ts'
import {
  type DeadLetter,
  deadLetters,
  deleteDeadLetter,
  replayDeadLetters,
} from '../../database/queries/webhook-deliveries.ts'
import {
  deleteWebhook,
  findWebhook,
  insertWebhook,
  listWebhooks,
  reviseWebhook,
  updateWebhook,
  type WebhookBacklog,
  type WebhookRow,
  webhookBacklogs,
} from '../../database/queries/webhooks.ts'
import { UUID } from '../../lib/uuid.ts'
import { type Caller, requireService } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { Outbox } from '../outbox.ts'
import { newWebhookSecret } from './signature.ts'

export interface WebhooksOptions {
  database: Database
  outbox: Outbox
  /** Called after each change, so that this server does not find it later. */
  onChange: () => void
}

/** What a client says of a webhook; undefined leaves a field as it is, or at its default. */
export type WebhookRequest = { [Field in keyof WebhookValues]?: WebhookValues[Field] | undefined }

/** A webhook, and what it has not taken. */
export type WebhookState = WebhookRow & WebhookBacklog

/** The coordinator for webhooks: each public method is one operation. All are for the service alone. */
export class Webhooks {
  readonly #options: WebhooksOptions

  constructor(options: WebhooksOptions) {
    this.#options = options
  }

  /** All of them, the oldest first. @throws RoleNotAllowed */
  async list(caller: Caller): Promise<WebhookState[]> {
    requireService(caller)
    return asService(this.#options.database, async (tx) => withBacklogs(tx, await listWebhooks(tx)))
  }

  /** @throws RoleNotAllowed, NoSuchWebhook */
  async get(caller: Caller, id: string): Promise<WebhookState> {
    requireService(caller)
    return asService(this.#options.database, async (tx) => withBacklog(tx, await find(tx, id)))
  }

  /**
   * Makes a webhook that gets what happens from now on. Without a secret it gets one.
   *
   * @throws RoleNotAllowed, InvalidRequest
   */
  async create(caller: Caller, request: WebhookRequest & { url: string }): Promise<WebhookState> {
    requireService(caller)
    const { database, outbox, onChange } = this.#options
    const values = merged(request, {
      url: request.url,
      secret: newWebhookSecret(),
      events: [],
      bucket: null,
      format: 'standard',
      allowPrivate: false,
    })
    // All that was committed before the request has its place at or below it.
    const newest = await outbox.settled()
    const row = await asService(database, (tx) =>
      insertWebhook(tx, { ...values, id: randomUUID(), source: 'api' }, newest),
    )
    onChange()
    return { ...row, ...NOTHING }
  }

  /**
   * Changes what is given. What the webhook has failed to take is tried again at once.
   *
   * @throws RoleNotAllowed, NoSuchWebhook, WebhookFromSettings, InvalidRequest
   */
  async update(caller: Caller, id: string, request: WebhookRequest): Promise<WebhookState> {
    requireService(caller)
    const state = await asService(this.#options.database, async (tx) => {
      const values = merged(request, await findOwn(tx, id))
      return withBacklog(tx, await updateWebhook(tx, id, values))
    })
    this.#options.onChange()
    return state
  }

  /** With all that it has not taken. @throws RoleNotAllowed, NoSuchWebhook, WebhookFromSettings */
  async delete(caller: Caller, id: string): Promise<void> {
    requireService(caller)
    await asService(this.#options.database, async (tx) => {
      await findOwn(tx, id)
      await deleteWebhook(tx, id)
    })
    this.#options.onChange()
  }

  /** The dead letters after a position, at most `limit`, in order. @throws RoleNotAllowed, NoSuchWebhook */
  async deadLetters(
    caller: Caller,
    id: string,
    page: { after: number; limit: number },
  ): Promise<DeadLetter[]> {
    requireService(caller)
    return asService(this.#options.database, async (tx) => {
      await find(tx, id)
      return deadLetters(tx, id, page)
    })
  }

  /**
   * Sends dead letters again, as if they were new. Returns how many.
   *
   * @param positions null is all
   * @throws RoleNotAllowed, NoSuchWebhook
   */
  async replay(caller: Caller, id: string, positions: number[] | null): Promise<number> {
    requireService(caller)
    const count = await asService(this.#options.database, async (tx) => {
      await find(tx, id, { lock: true })
      const replayed = await replayDeadLetters(tx, id, positions)
      if (replayed > 0) await reviseWebhook(tx, id)
      return replayed
    })
    this.#options.onChange()
    return count
  }

  /** Forgets a dead letter. @throws RoleNotAllowed, NoSuchWebhook, NoSuchDeadLetter */
  async deleteDeadLetter(caller: Caller, id: string, position: number): Promise<void> {
    requireService(caller)
    await asService(this.#options.database, async (tx) => {
      await find(tx, id)
      if (!(await deleteDeadLetter(tx, id, position))) throw new StorageError('NoSuchDeadLetter')
    })
  }
}

const NOTHING: WebhookBacklog = { pending: 0, dead: 0, lastStatus: null, lastError: null }

async function find(tx: Transaction, id: string, options: { lock?: boolean } = {}): Promise<WebhookRow> {
  const row = UUID.test(id) ? await findWebhook(tx, id, options) : null
  if (row === null) throw new StorageError('NoSuchWebhook')
  return row
}

/** One that the routes look after. */
async function findOwn(tx: Transaction, id: string): Promise<WebhookRow> {
  const row = await find(tx, id, { lock: true })
  if (row.source === 'settings') throw new StorageError('WebhookFromSettings')
  return row
}

/** @throws InvalidRequest when the whole contradicts itself */
function merged(request: WebhookRequest, before: WebhookValues): WebhookValues {
  const given = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined))
  const values = { ...before, ...given }
  const contradiction = webhookContradiction(values)
  if (contradiction) {
    const message = `body/${contradiction.field} ${contradiction.sentence}`
    throw new StorageError('InvalidRequest', { message })
  }
  return values
}

async function withBacklog(tx: Transaction, row: WebhookRow): Promise<WebhookState> {
  const [state] = await withBacklogs(tx, [row])
  return state ?? { ...row, ...NOTHING }
}

async function withBacklogs(tx: Transaction, rows: WebhookRow[]): Promise<WebhookState[]> {
  const backlogs = await webhookBacklogs(
    tx,
    rows.map(({ id }) => id),
  )
  return rows.map((row) => ({ ...row, ...(backlogs.get(row.id) ?? NOTHING) }))
}
