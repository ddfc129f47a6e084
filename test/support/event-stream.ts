import type { PlacedEventJson } from '../../src/events/event.ts'
import { until } from './wait.ts'

/** One block of a stream (WHATWG HTML §9.2.6). */
export interface Block {
  id?: string
  event?: string
  data?: string
  retry?: string
  /** A comment has no name. */
  ''?: string
}

/** A reader of server-sent events that keeps all it gets. */
export interface EventReader {
  response: Response
  blocks: Block[]
  /** The events among them. */
  events(): PlacedEventJson[]
  /** Those as `type path`. */
  heard(): string[]
  /** Waits until so many have come, and returns them as `heard` does. */
  hears(count: number): Promise<string[]>
  /** Resolves when the server has ended the stream. */
  ended: Promise<void>
  close(): void
}

export interface ReaderOptions {
  /** The service key when absent; null sends none. */
  token?: string | null
  query?: string
  lastEventId?: number | string
}

/** Opens a stream; resolves once it is answered. @throws when the answer is no stream */
export async function openEvents(
  server: { url: string; keys: { serviceKey: string } },
  { token = server.keys.serviceKey, query = '', lastEventId }: ReaderOptions = {},
): Promise<EventReader> {
  const leaving = new AbortController()
  const response = await fetch(`${server.url}/storage/v1/events${query}`, {
    signal: leaving.signal,
    headers: {
      ...(token !== null && { authorization: `Bearer ${token}` }),
      ...(lastEventId !== undefined && { 'last-event-id': String(lastEventId) }),
    },
  })
  if (!response.ok || !response.body) throw new Error(`${response.status} ${await response.text()}`)
  const blocks: Block[] = []
  const events: PlacedEventJson[] = []
  const read = async (body: ReadableStream<Uint8Array>) => {
    let rest = ''
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split('\n\n')
      rest = parts.pop() ?? ''
      for (const block of parts.map(parseBlock)) {
        blocks.push(block)
        if (block.data && /^storage\.(object|bucket|version)/.test(block.event ?? ''))
          events.push(JSON.parse(block.data))
      }
    }
  }
  const heard = () =>
    events.map((event) => `${event.type.replace('storage.', '')} ${event.path ?? event.bucket}`)
  return {
    response,
    blocks,
    events: () => [...events],
    heard,
    hears: async (count) => {
      await until(() => events.length >= count, `${count} events come; there are ${heard().join(', ')}`)
      return heard()
    },
    ended: read(response.body).catch(() => {}),
    close: () => leaving.abort(),
  }
}

function parseBlock(text: string): Block {
  return Object.fromEntries(
    text.split('\n').map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon), line.slice(colon + 1).trimStart()]
    }),
  )
}
