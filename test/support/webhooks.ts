import type { Served, TestServer } from './server.ts'
import type { Receiver } from './webhook-receiver.ts'

/** Quick to try again: what a test can wait for. */
export const EAGER_WEBHOOKS = { STORAGE_WEBHOOK_BACKOFF: '20ms' }

export interface HookJson {
  id: string
  secret: string
  pending: number
  dead: number
  last_status: number | null
  last_error: string | null
  [field: string]: unknown
}

/** Makes a webhook that may be on this machine. */
export async function makeHook(server: Served, url: string, fields: object = {}): Promise<HookJson> {
  const body = { url, allow_private: true, ...fields }
  const response = await server.request('POST', '/storage/v1/webhook', { body })
  if (response.status !== 201) throw new Error(`a webhook: ${response.status} ${await response.text()}`)
  return (await response.json()) as HookJson
}

export async function hookState(server: Served, id: string): Promise<HookJson> {
  const response = await server.request('GET', `/storage/v1/webhook/${id}`)
  return (await response.json()) as HookJson
}

/** All events of a bucket's objects, in the order of the outbox. */
export async function eventsOf(server: TestServer, bucket: string) {
  await server.admin`select storage.order_events()`
  const rows = await server.admin<{ position: string; type: string; name: string }[]>`
    select o.position, e.type, e.name from storage.event_order o join storage.events e on e.id = o.event_id
    where e.bucket_id = ${bucket} and e.name is not null order by o.position`
  return rows.map(({ position, type, name }) => ({ id: Number(position), type, path: name }))
}

/** The events that a receiver has taken, each at its first time, in that order. */
export function takenEvents(receiver: Receiver) {
  const seen = new Map<number, { id: number; type: string; path: string }>()
  for (const { data } of receiver.taken()) {
    const { id, type, path } = data as { id: number; type: string; path: string }
    if (!seen.has(id)) seen.set(id, { id, type, path })
  }
  return [...seen.values()]
}
