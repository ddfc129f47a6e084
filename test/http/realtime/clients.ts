import {
  createClient,
  type RealtimeChannel,
  type SupabaseClient,
  type WebSocketLikeConstructor,
} from '@supabase/supabase-js'
import WebSocket from 'ws'
import type { Served } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/** Node 20 has none of its own; the types of `ws` differ in an overload that nobody calls. */
const transport = WebSocket as unknown as WebSocketLikeConstructor

/** A message of a channel, as it travels in both versions. */
export interface Frame {
  join_ref: string | null
  ref: string | null
  topic: string
  event: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into what they expect
  payload: any
}

/** Clients of a server, all of which go away with `close`. */
export class RealtimeClients {
  readonly #served: () => Served
  readonly #apps: SupabaseClient[] = []
  readonly #sockets: RawClient[] = []

  constructor(served: () => Served) {
    this.#served = served
  }

  /** An app that uses supabase-js, with the anon key and perhaps a token of somebody who has signed in. */
  async app({
    key,
    token,
    vsn = '2.0.0',
  }: {
    key?: string
    token?: string
    vsn?: string
  } = {}): Promise<SupabaseClient> {
    const { url, keys } = this.#served()
    const app = createClient(url, key ?? keys.anonKey, {
      auth: { persistSession: false, autoRefreshToken: false },
      realtime: { transport, vsn },
    })
    this.#apps.push(app)
    if (token !== undefined) await app.realtime.setAuth(token)
    return app
  }

  /** A WebSocket on which every frame is written by hand. */
  async raw(options: RawOptions = {}): Promise<RawClient> {
    const client = new RawClient(this.#served(), options)
    this.#sockets.push(client)
    await client.opened
    return client
  }

  async close(): Promise<void> {
    await Promise.all(this.#apps.splice(0).map((app) => app.removeAllChannels()))
    for (const client of this.#sockets.splice(0)) client.socket.terminate()
  }
}

export interface RawOptions {
  /** Null sends none. */
  apikey?: string | null
  vsn?: string | null
  headers?: Record<string, string>
}

export class RawClient {
  readonly socket: WebSocket
  readonly frames: Frame[] = []
  readonly opened: Promise<void>
  /** The code with which the connection was closed, once it is. */
  code: number | undefined
  readonly #vsn: string | null
  #ref = 0

  constructor(
    served: Pick<Served, 'url' | 'keys'>,
    { apikey = served.keys.anonKey, vsn = '2.0.0', headers = {} }: RawOptions,
  ) {
    this.#vsn = vsn
    this.socket = new WebSocket(websocketUrl(served.url, { apikey, vsn }), { headers })
    this.socket.on('message', (data) => this.frames.push(this.#read(data.toString())))
    this.socket.on('close', (code) => {
      this.code = code
    })
    this.opened = new Promise((resolve, reject) => {
      this.socket.once('open', resolve)
      this.socket.on('error', reject)
    })
  }

  /** Sends a message, and returns its ref. */
  send(topic: string, event: string, payload: unknown = {}, joinRef: string | null = null): string {
    const ref = String(++this.#ref)
    const frame = { topic, event, payload, ref, join_ref: event === 'phx_join' ? ref : joinRef }
    const isArray = this.#vsn === '2.0.0'
    this.socket.send(JSON.stringify(isArray ? [frame.join_ref, ref, topic, event, payload] : frame))
    return ref
  }

  /** Joins, and returns the reply. */
  async join(topic: string, payload: unknown = { config: {} }): Promise<Frame> {
    return this.reply(this.send(topic, 'phx_join', payload))
  }

  reply(ref: string): Promise<Frame> {
    return this.frame(({ event, ref: own }) => event === 'phx_reply' && own === ref, `a reply to ${ref}`)
  }

  /** The first frame that is like this, once it has come. */
  async frame(isIt: (frame: Frame) => boolean, what: string): Promise<Frame> {
    await until(() => this.frames.some(isIt), `${what} comes`)
    const found = this.frames.find(isIt)
    if (!found) throw new Error(what)
    return found
  }

  event(event: string): Promise<Frame> {
    return this.frame((frame) => frame.event === event, event)
  }

  async closed(): Promise<number | undefined> {
    await until(() => this.code !== undefined, 'the connection is closed')
    return this.code
  }

  #read(text: string): Frame {
    const value = JSON.parse(text)
    if (!Array.isArray(value)) return value
    const [join_ref, ref, topic, event, payload] = value
    return { join_ref, ref, topic, event, payload }
  }
}

export function websocketUrl(
  url: string,
  { apikey, vsn }: { apikey?: string | null | undefined; vsn?: string | null | undefined },
): string {
  const query = new URLSearchParams()
  if (apikey) query.set('apikey', apikey)
  if (vsn) query.set('vsn', vsn)
  return `${url.replace('http', 'ws')}/realtime/v1/websocket?${query}`
}

/** Subscribes, and resolves once the client says that it is. @throws what it says instead */
export function subscribed(channel: RealtimeChannel): Promise<void> {
  return new Promise((resolve, reject) => {
    channel.subscribe((status, error) => {
      if (status === 'SUBSCRIBED') resolve()
      else reject(error ?? new Error(status))
    })
  })
}
